// dropout against the mask ops.h defines, drawn one element at a time by another Philox. It is seen
// through the LoRA ops with A the identity: drop(X)·Iᵀ, and dX += drop'(dU·I).
#include "op_test.h"

namespace {

using op_test::Matrix;

// Philox4x32-10 as its authors state it: counter and key bumped by the Weyl constants each round.
void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0], b = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t next[4] = {uint32_t(b >> 32) ^ c[1] ^ k0, uint32_t(b),
                              uint32_t(a >> 32) ^ c[3] ^ k1, uint32_t(a)};
    std::memcpy(c, next, sizeof(next));
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

bool kept(const qlora::ops::DropoutSite& site, int32_t key, int32_t position, int64_t column) {
  uint32_t c[4] = {uint32_t(column / 8), uint32_t(position), uint32_t(key), site.step};
  philox(c, uint32_t(site.seed) ^ (site.site * 0x9E3779B9u), uint32_t(site.seed >> 32));
  const uint32_t word = c[column % 8 / 2];
  const uint32_t uniform = column % 2 == 0 ? word & 0xFFFFu : word >> 16;
  return double(uniform) >= std::round(double(site.probability) * 65536.0);
}

// Known answers published with the generator (Random123's kat_vectors).
OP_TEST(philox_gives_the_published_words) {
  uint32_t zero[4] = {0, 0, 0, 0};
  philox(zero, 0, 0);
  EXPECT(zero[0] == 0x6627e8d5u && zero[1] == 0xe169c58du && zero[2] == 0xbc57ac4cu &&
             zero[3] == 0x9b00dbd8u,
         "zero counter and key");
  uint32_t ones[4] = {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu};
  philox(ones, 0xffffffffu, 0xffffffffu);
  EXPECT(ones[0] == 0x408f276du && ones[1] == 0x41c83b0eu && ones[2] == 0xa20bc7c6u &&
             ones[3] == 0x6d5451fdu,
         "all ones");
}

op_test::Numbers identity(int64_t n) {
  op_test::Numbers a(size_t(n * n), 0.0f);
  for (int64_t i = 0; i < n; ++i) a[size_t(i * n + i)] = 1.0f;
  return a;
}

OP_TEST(dropout_draws_the_stated_mask) {
  const std::vector<int32_t> keys = {-1, 0, 0, 7, 123456}, positions = {0, 0, 1, 336, 2};
  const int64_t T = 5;
  for (const int64_t C : {int64_t{1}, int64_t{8}, int64_t{123}, int64_t{256}, int64_t{300}}) {
    const op_test::Numbers a = identity(C);
    for (const float p : {0.0f, 0.05f, 0.5f, 0.999f}) {
      const qlora::ops::DropoutSite site = {0x123456789ABCDEFull, 17, 11, p, keys.data(),
                                            positions.data()};
      const std::string name = "C " + std::to_string(C) + " p " + std::to_string(p);
      const Matrix x = Matrix::of(T, C, C + 3, 1), start = Matrix::of(T, C, C + 2, 2);
      std::vector<double> want, want_sum;
      for (int64_t i = 0; i < T * C; ++i) {
        const int64_t t = i / C, c = i % C;
        const bool keep = kept(site, keys[size_t(t)], positions[size_t(t)], c);
        want.push_back(keep ? double(x(t, c)) / (1.0 - double(p)) : 0.0);
        want_sum.push_back(want.back() + double(start(t, c)));
      }
      std::vector<double> want_da(size_t(C * C), 0.0);  // xᵀ · drop(x)
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t r = 0; r < C; ++r) {
          for (int64_t c = 0; c < C; ++c) {
            want_da[size_t(r * C + c)] += double(x(t, r)) * want[size_t(t * C + c)];
          }
        }
      }
      const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
        Matrix out(T, C, C + 1), sum = start;
        op_test::Numbers da(size_t(C * C), 0.0f);
        qlora::ops::lora_down_forward(out.data(), out.ld, x.data(), x.ld, a.data(), T, C, C, &site,
                                      device);
        qlora::ops::lora_input_backward(da.data(), sum.data(), sum.ld, x.data(), x.ld, x.data(),
                                        x.ld, a.data(), T, C, C, &site, device);
        EXPECT(out.guards_intact() && sum.guards_intact(), name);
        op_test::expect_close(op_test::doubles(sum), want_sum, 1e-6, name + " backward");
        op_test::expect_close(op_test::doubles(da), want_da, 1e-6, name + " dA");
        return op_test::doubles(out);
      });
      op_test::expect_close(got, want, 1e-6, name);
    }
  }
}

OP_TEST(dropout_drops_its_share) {
  const int64_t T = 256, C = 256;
  const op_test::Numbers ones(size_t(T * C), 1.0f), a = identity(C);
  op_test::Numbers out(size_t(T * C));
  std::vector<int32_t> keys(size_t(T), 3), positions;
  for (int32_t t = 0; t < T; ++t) positions.push_back(t);
  const qlora::ops::DropoutSite site = {42, 1, 0, 0.05f, keys.data(), positions.data()};
  qlora::ops::lora_down_forward(out.data(), C, ones.data(), C, a.data(), T, C, C, &site,
                                op_test::device(1));
  double dropped = 0.0;
  for (const float value : out) dropped += value == 0.0f ? 1.0 : 0.0;
  // five standard deviations of a binomial share
  EXPECT(std::fabs(dropped / double(T * C) - 0.05) < 5 * std::sqrt(0.05 * 0.95 / double(T * C)),
         std::to_string(dropped / double(T * C)));
}

}  // namespace
