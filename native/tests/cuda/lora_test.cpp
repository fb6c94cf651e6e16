// LoRA beside the base product: U, dA, dX, dB, with and without dropout. As in the graph, U and dU
// lie behind X and dX in the same rows.
#include <limits>

#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

struct Size {
  int64_t T, in, R, gap, offset;
};
// Rank counts of every kernel and of several passes; rows that begin on 16 bytes and rows that do
// not; enough tokens, and enough columns, for a block to go round its buffers more than once, and
// for every block the GPU holds to have a stretch of work that begins and ends amid others'.
const Size kSizes[] = {{1, 1, 1, 0, 0},       {5, 123, 3, 2, 0},    {7, 64, 16, 16, 0},
                       {7, 64, 16, 16, 1},    {33, 96, 48, 0, 0},   {130, 320, 12, 4, 0},
                       {300, 136, 64, 8, 0},  {67, 264, 100, 4, 0}, {65, 40, 192, 8, 0},
                       {129, 1160, 24, 0, 0}, {9, 14336, 16, 0, 0}, {20000, 40, 16, 8, 0},
                       {9000, 640, 1, 7, 0},  {2100, 4104, 8, 0, 0}};

// The sixteen-bit uniform of an element.
uint32_t uniform(const ops::DropoutSite& site, uint32_t column, uint32_t position, uint32_t key) {
  uint32_t c[4] = {column / 8, position, key, site.step};
  uint32_t k0 = uint32_t(site.seed) ^ (site.site * 0x9E3779B9u), k1 = uint32_t(site.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t next[4] = {uint32_t(p1 >> 32) ^ c[1] ^ k0, uint32_t(p1),
                              uint32_t(p0 >> 32) ^ c[3] ^ k1, uint32_t(p0)};
    std::memcpy(c, next, sizeof c);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const uint32_t i = column % 8;
  return c[i / 2] >> (i % 2 * 16) & 0xffffu;
}

// What drop() multiplies each element by.
struct Drop {
  Doubles factor;
  std::vector<int32_t> keys, positions;
  ops::DropoutSite site;

  Drop(const Size& s, float probability) : factor(size_t(s.T * s.in), 1.0) {
    for (int64_t t = 0; t < s.T; ++t) {
      keys.push_back(static_cast<int32_t>(t * 7919 - 3));
      positions.push_back(static_cast<int32_t>(t % 50));
    }
    site = {0x9abcdef012345678ull, 7, 13, probability, nullptr, nullptr};
    if (probability == 0.0f) return;
    const double threshold = std::round(double(probability) * 65536.0);
    for (int64_t i = 0; i < s.T * s.in; ++i) {
      const size_t t = size_t(i / s.in);
      const bool kept =
          uniform(site, uint32_t(i % s.in), uint32_t(positions[t]), uint32_t(keys[t])) >= threshold;
      factor[size_t(i)] = kept ? 1.0 / (1.0 - double(probability)) : 0.0;
    }
  }
};

// [left | right], each [T, …].
Doubles beside(const Doubles& left, const Doubles& right, int64_t T) {
  const int64_t a = int64_t(left.size()) / T, b = int64_t(right.size()) / T;
  Doubles both;
  for (int64_t t = 0; t < T; ++t) {
    both.insert(both.end(), left.begin() + t * a, left.begin() + (t + 1) * a);
    both.insert(both.end(), right.begin() + t * b, right.begin() + (t + 1) * b);
  }
  return both;
}
// Columns [begin, begin + count) of [T, …].
Doubles columns(const Doubles& x, int64_t T, int64_t begin, int64_t count) {
  const int64_t ld = int64_t(x.size()) / T;
  Doubles part;
  for (int64_t t = 0; t < T; ++t) {
    part.insert(part.end(), x.begin() + t * ld + begin, x.begin() + t * ld + begin + count);
  }
  return part;
}

template <class Check>
void for_all(const Check& check) {
  for (const Size& s : kSizes) {
    for (const float probability : {0.0f, 0.05f, 0.5f}) {
      const Drop drop(s, probability);
      const Buffer<int32_t> keys(drop.keys), positions(drop.positions);
      ops::DropoutSite site = drop.site;
      site.keys = keys.data();
      site.positions = positions.data();
      const std::string name =
          shape("T", s.T, "in", s.in, "R", s.R, "p", double(probability), "offset", s.offset);
      check(name, s, drop, probability > 0.0f ? &site : nullptr);
    }
  }
}

CUDA_OP_TEST(lora_down_forward) {
  for_all(
      [](const std::string& name, const Size& s, const Drop& drop, const ops::DropoutSite* site) {
        const Doubles x = normal_bf16(s.T * s.in, 1), a = normal_bf16(s.R * s.in, 2);
        Doubles want(size_t(s.T * s.R), 0.0), naive = want;
        for (int64_t t = 0; t < s.T; ++t) {
          for (int64_t r = 0; r < s.R; ++r) {
            double sum = 0.0, rounded = 0.0;
            for (int64_t c = 0; c < s.in; ++c) {
              const size_t at = size_t(t * s.in + c);
              const double weight = a[size_t(r * s.in + c)];
              sum += drop.factor[at] * x[at] * weight;
              rounded += bf16(x[at] * bf16(drop.factor[at])) * weight;
            }
            want[size_t(t * s.R + r)] = sum;
            naive[size_t(t * s.R + r)] = bf16(rounded);
          }
        }
        const Matrix lora(a, s.R, s.in, s.in, s.offset);
        const Doubles unset(size_t(s.T * s.R), std::numeric_limits<double>::quiet_NaN());
        const Doubles all = twice(name, [&] {
          const Matrix rows(beside(x, unset, s.T), s.T, s.in + s.R, s.in + s.R + s.gap, s.offset);
          ops::lora_down_forward(rows.data() + s.in, rows.ld(), rows.data(), rows.ld(), lora.data(),
                                 s.T, s.in, s.R, site, device());
          return rows.read();
        });
        expect(columns(all, s.T, 0, s.in) == x, name + ": X changed");
        compare(name, columns(all, s.T, s.in, s.R), want, naive);
      });
}

CUDA_OP_TEST(lora_input_backward) {
  for_all(
      [](const std::string& name, const Size& s, const Drop& drop, const ops::DropoutSite* site) {
        const Doubles x = normal_bf16(s.T * s.in, 1), a = normal_bf16(s.R * s.in, 2);
        const Doubles du = normal_bf16(s.T * s.R, 3), start = normal_bf16(s.T * s.in, 4);
        const Doubles da_start = normal_f32(s.R * s.in, 5);
        Doubles want(size_t(s.T * s.in)), naive = want, da = da_start;
        for (int64_t t = 0; t < s.T; ++t) {
          for (int64_t c = 0; c < s.in; ++c) {
            const size_t at = size_t(t * s.in + c);
            double sum = 0.0;
            for (int64_t r = 0; r < s.R; ++r) {
              const double gradient = du[size_t(t * s.R + r)];
              sum += gradient * a[size_t(r * s.in + c)];
              da[size_t(r * s.in + c)] += gradient * drop.factor[at] * x[at];
            }
            want[at] = start[at] + drop.factor[at] * sum;
            naive[at] = bf16(start[at] + bf16(bf16(sum) * bf16(drop.factor[at])));
          }
        }
        const Matrix lora(a, s.R, s.in, s.in), rows(x, s.T, s.in, s.in + s.gap + s.R, s.offset);
        for (const bool need_dx : {true, false}) {
          Doubles first_da;
          const Doubles all = twice(name, [&] {
            const Matrix dx(beside(start, du, s.T), s.T, s.in + s.R, s.in + s.R + s.gap, s.offset);
            const Buffer<float> gradient = f32_buffer(da_start);
            ops::lora_input_backward(gradient.data(), need_dx ? dx.data() : nullptr, dx.ld(),
                                     dx.data() + s.in, dx.ld(), rows.data(), rows.ld(), lora.data(),
                                     s.T, s.in, s.R, site, device());
            const Doubles got = doubles(gradient.read());
            expect(first_da.empty() || first_da == got, name + ": two runs' dA differ");
            first_da = got;
            return dx.read();
          });
          compare_within(name + " dA", first_da, da, 5e-5);
          expect(columns(all, s.T, s.in, s.R) == du, name + ": dU changed");
          const Doubles dx = columns(all, s.T, 0, s.in);
          if (need_dx) {
            compare(name + " dX", dx, want, naive);
          } else {
            expect(dx == start, name + ": dX changed");
          }
        }
      });
}

struct PartSize {
  int64_t out, rank;
};
void check_b(int64_t T, const std::vector<PartSize>& sizes, int64_t gap, int64_t offset) {
  int64_t out = 0, R = 0;
  std::vector<ops::LoraPart> parts;
  for (const PartSize& size : sizes) {
    parts.push_back({nullptr, size.out, out, size.rank, R});
    out += size.out;
    R += size.rank;
  }
  const std::string name = shape("T", T, "parts", sizes.size(), "out", out, "R", R);
  const float scale = 2.0f;
  const Doubles dy = normal_bf16(T * out, 1), u = normal_bf16(T * R, 2);
  const Matrix right(dy, T, out, out + gap, offset), left(u, T, R, R + gap, offset);
  Doubles start, want;
  for (const ops::LoraPart& part : parts) {
    const Doubles from = normal_f32(part.out * part.rank, uint32_t(3 + part.out_begin));
    start.insert(start.end(), from.begin(), from.end());
    for (int64_t o = 0; o < part.out; ++o) {
      for (int64_t r = 0; r < part.rank; ++r) {
        double sum = 0.0;
        for (int64_t t = 0; t < T; ++t) {
          sum += dy[size_t(t * out + part.out_begin + o)] * u[size_t(t * R + part.rank_begin + r)];
        }
        want.push_back(from[size_t(o * part.rank + r)] + double(scale) * sum);
      }
    }
  }
  const auto got = twice(name, [&] {
    const Buffer<float> db = f32_buffer(start);
    float* at = db.data();
    for (ops::LoraPart& part : parts) {
      part.db = at;
      at += part.out * part.rank;
    }
    ops::lora_b_backward(parts.data(), static_cast<int>(parts.size()), right.data(), right.ld(),
                         left.data(), left.ld(), T, scale, device());
    return db.read();
  });
  compare_within(name, doubles(got), want, 5e-5);
}

CUDA_OP_TEST(lora_b_backward) {
  check_b(1, {{1, 1}}, 0, 0);
  check_b(5, {{7, 3}, {5, 0}, {9, 3}}, 1, 1);
  check_b(33, {{128, 16}, {32, 16}, {32, 16}}, 16, 0);
  check_b(130, {{520, 16}, {520, 16}}, 16, 0);
  check_b(300, {{264, 12}, {264, 12}}, 8, 0);
  check_b(257, {{80, 48}}, 0, 0);
  check_b(70, {{48, 64}, {16, 64}}, 0, 0);
  check_b(70, {{40, 100}, {24, 0}, {16, 100}}, 8, 0);
  check_b(20000, {{40, 16}}, 8, 0);
  check_b(3000, {{4104, 8}, {520, 8}}, 8, 0);
}

}  // namespace
