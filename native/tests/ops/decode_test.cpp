// linear_decode, kv_append, kv_load and attention_decode against double precision; rows that must not depend
// on their neighbours.
#include <algorithm>

#include "op_test.h"

namespace {

using op_test::Matrix;
using op_test::Numbers;
using Doubles = std::vector<double>;

void check_linear(int64_t m, int64_t out, int64_t in, bool is_nf4, float beta) {
  const std::string name = "m " + std::to_string(m) + " out " + std::to_string(out) + " in " +
                           std::to_string(in) + (is_nf4 ? " nf4" : "");
  const Matrix x = Matrix::of(m, in, in + 5, 1), plain = Matrix::of(out, in, in + 2, 2);
  const Numbers values = op_test::normal(out * in, 3);
  std::vector<uint8_t> packed(size_t((out * in + 1) / 2));
  Numbers absmax(size_t((out * in + 63) / 64));
  qlora::ops::Weight w;
  w.out = out;
  w.in = in;
  if (is_nf4) {
    qlora::ops::nf4_quantize(packed.data(), absmax.data(), values.data(), out * in,
                             op_test::device(1));
    w.packed = packed.data();
    w.absmax = absmax.data();
  } else {
    w.plain = plain.data();
    w.ld = plain.ld;
  }
  Matrix dense(out, in, in);
  qlora::ops::dequantize(dense.data(), in, w, 0, out, 0, in, op_test::device(1));
  const Matrix start = beta != 0.0f ? Matrix::of(m, out, out + 1, 4) : Matrix(m, out, out + 1);
  Doubles want;
  for (int64_t i = 0; i < m * out; ++i) {
    double sum = beta != 0.0f ? double(start(i / out, i % out)) : 0.0;
    for (int64_t p = 0; p < in; ++p) sum += double(x(i / out, p)) * double(dense(i % out, p));
    want.push_back(sum);
  }
  const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
    Matrix y = start;
    qlora::ops::linear_decode(y.data(), y.ld, x.data(), x.ld, m, w, beta, device);
    EXPECT(y.guards_intact(), name);
    return op_test::doubles(y);
  });
  op_test::expect_close(got, want, 2e-6 * std::sqrt(double(in)), name);
  // A row alone has the bits it has in company.
  Matrix alone(1, out, out);
  if (beta == 0.0f) {
    qlora::ops::linear_decode_f32(alone.data(), out, x.data() + (m - 1) * x.ld, x.ld, 1, w,
                                  op_test::device(2));
    const Doubles last(got.end() - out, got.end());
    EXPECT(op_test::same_bits(op_test::doubles(alone), last), name + ": alone");
  }
}

OP_TEST(linear_decode_matches_double_precision) {
  for (const bool is_nf4 : {false, true}) {
    check_linear(1, 1, 1, is_nf4, 0.0f);
    check_linear(1, 130, 256, is_nf4, 0.0f);
    check_linear(3, 33, 123, is_nf4, 1.0f);
    check_linear(6, 70, 65, is_nf4, 0.0f);
    check_linear(65, 48, 320, is_nf4, 0.0f);
  }
}

// ---- attention over the caches -----------------------------------------------------------------

void check_attention(int64_t Q, int64_t G, int64_t D, int64_t P) {
  const std::string name = "Q " + std::to_string(Q) + " G " + std::to_string(G) + " D " +
                           std::to_string(D) + " P " + std::to_string(P);
  const int64_t width = G * D, capacity = 40, rows = 3, half = D / 2, columns = (Q + 2 * G) * D;
  Numbers prefix_k(size_t((P + 1) * width), NAN), prefix_v = prefix_k;
  Numbers k(size_t(rows * capacity * width), NAN), v = k;
  const qlora::ops::KvCache cache = {P > 0 ? prefix_k.data() : nullptr,
                                     P > 0 ? prefix_v.data() : nullptr,
                                     k.data(),
                                     v.data(),
                                     capacity,
                                     G,
                                     D};
  // The prefix, then what the slots hold already.
  const std::vector<int32_t> slots = {2, 0, 1}, positions = {37, 5, 0};
  std::vector<int32_t> slot_of_row, position;
  for (int32_t i = 0; i < P; ++i) slot_of_row.push_back(-1), position.push_back(i);
  for (size_t r = 0; r < slots.size(); ++r) {
    for (int32_t i = 0; i < positions[r]; ++i) slot_of_row.push_back(slots[r]), position.push_back(i);
  }
  const int64_t tokens = static_cast<int64_t>(slot_of_row.size());
  const Matrix past = Matrix::of(tokens, columns, columns + 3, 1);
  qlora::ops::kv_append(cache, past.data(), past.ld, slot_of_row.data(), position.data(), tokens, Q,
                        op_test::device(1));
  Numbers cos, sin;
  for (const float angle : op_test::normal((P + capacity) * half, 4, 3.0f)) {
    cos.push_back(std::cos(angle)), sin.push_back(std::sin(angle));
  }

  const Matrix qkv = Matrix::of(rows, columns, columns + 1, 2);
  Doubles want;
  for (int64_t i = 0; i < rows; ++i) {
    const size_t angles = size_t((P + positions[size_t(i)]) * half);
    const auto turned = [&](int64_t column) {
      Doubles y(static_cast<size_t>(D));
      for (int64_t c = 0; c < half; ++c) {
        const double a = double(qkv(i, column + c)), b = double(qkv(i, column + c + half));
        const double co = double(cos[angles + size_t(c)]), si = double(sin[angles + size_t(c)]);
        y[size_t(c)] = a * co - b * si;
        y[size_t(c + half)] = b * co + a * si;
      }
      return y;
    };
    for (int64_t h = 0; h < Q; ++h) {
      const int64_t column = (Q + h / (Q / G)) * D;
      const Doubles q = turned(h * D), own = turned(column);
      Doubles sum(size_t(D), 0.0);
      double total = 0.0;
      for (int64_t t = 0; t <= tokens; ++t) {  // the last is the row's own
        const bool is_own = t == tokens;
        if (!is_own && slot_of_row[size_t(t)] >= 0 && slot_of_row[size_t(t)] != slots[size_t(i)]) {
          continue;
        }
        double s = 0.0;
        for (int64_t c = 0; c < D; ++c) {
          s += q[size_t(c)] * (is_own ? own[size_t(c)] : double(past(t, column + c)));
        }
        const double p = std::exp(s / std::sqrt(double(D)));
        total += p;
        for (int64_t c = 0; c < D; ++c) {
          const int64_t at = column + G * D + c;
          sum[size_t(c)] += p * double(is_own ? qkv(i, at) : past(t, at));
        }
      }
      for (const double value : sum) want.push_back(value / total);
    }
  }
  const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
    Matrix out(rows, Q * D, Q * D + 2), now = qkv;  // the op may change it
    qlora::ops::attention_decode(out.data(), out.ld, now.data(), now.ld, cache, slots.data(),
                                 positions.data(), P, cos.data(), sin.data(), rows, Q, device);
    EXPECT(out.guards_intact() && now.guards_intact(), name);
    return op_test::doubles(out);
  });
  op_test::expect_close(got, want, 3e-6, name);
  Matrix alone(1, Q * D, Q * D), now = qkv;
  qlora::ops::attention_decode(alone.data(), alone.ld, now.data() + now.ld, now.ld, cache,
                               slots.data() + 1, positions.data() + 1, P, cos.data(), sin.data(), 1,
                               Q, op_test::device(1));
  EXPECT(op_test::same_bits(op_test::doubles(alone),
                            Doubles(got.begin() + Q * D, got.begin() + 2 * Q * D)),
         name + ": alone");
  // What was appended is read back.
  Matrix back = Matrix::of(38, columns, columns, 5);
  const Matrix before = back;
  qlora::ops::kv_load(back.data(), back.ld, cache, 2, 38, Q, op_test::device(1));
  for (int64_t t = 0; t < 37 * columns; ++t) {
    const int64_t row = t / columns, column = t % columns;
    const float expected = column < Q * D ? before(row, column) : past(P + row, column);
    EXPECT(back(row, column) == expected, name + ": kv_load");
  }
  for (int64_t c = 0; c < width; ++c) {
    EXPECT(back(37, (Q + G) * D + c) == qkv(0, (Q + G) * D + c), name + ": the newest value");
  }
}

OP_TEST(attention_decode_matches_double_precision) {
  check_attention(1, 1, 2, 0);
  check_attention(8, 4, 32, 19);
  check_attention(6, 1, 20, 3);
  check_attention(4, 4, 80, 0);
  check_attention(2, 1, 128, 70);
}

}  // namespace
