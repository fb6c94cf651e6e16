// The layers' row ops against double precision; their backward ops against the numeric slope of
// that reference.
#include <algorithm>

#include "op_test.h"

namespace {

using op_test::Matrix;
using op_test::Numbers;
using Doubles = std::vector<double>;

// d(Σ out · dout) / d(x), by central differences of a function in double.
Doubles slope_of(Doubles x, const Doubles& dout,
                 const std::function<Doubles(const Doubles&)>& function) {
  const auto loss = [&] {
    const Doubles out = function(x);
    double sum = 0.0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
    return sum;
  };
  Doubles slope;
  for (double& value : x) {
    const double middle = value, step = 1e-5;
    value = middle + step;
    const double above = loss();
    value = middle - step;
    slope.push_back((above - loss()) / (2 * step));
    value = middle;
  }
  return slope;
}

Doubles plus(Doubles a, const Doubles& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// ---- rmsnorm ----------------------------------------------------------------------------------

Doubles rmsnorm(const Doubles& x, const Doubles& weight, double eps) {
  const size_t H = weight.size();
  Doubles out(x.size());
  for (size_t row = 0; row < x.size() / H; ++row) {
    double squares = 0.0;
    for (size_t c = 0; c < H; ++c) squares += x[row * H + c] * x[row * H + c];
    const double rstd = 1.0 / std::sqrt(squares / double(H) + eps);
    for (size_t c = 0; c < H; ++c) out[row * H + c] = x[row * H + c] * rstd * weight[c];
  }
  return out;
}

void check_rmsnorm(int64_t T, int64_t H, bool with_delta) {
  const float eps = 1e-5f;
  const std::string name = "T " + std::to_string(T) + " H " + std::to_string(H);
  const Numbers residual = op_test::normal(T * H, 1), delta = op_test::normal(T * H, 2);
  const Numbers weight = op_test::normal(H, 3);
  const Matrix dout = Matrix::of(T, H, H + 3, 4);
  const Numbers dresidual = op_test::normal(T * H, 5);
  Doubles x = op_test::doubles(residual);
  if (with_delta) x = plus(x, op_test::doubles(delta));

  Numbers rstd(size_t(T), NAN), sum(size_t(T * H), NAN);
  const auto out = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
    Matrix y(T, H, H + 2);
    qlora::ops::rmsnorm_forward(y.data(), y.ld, rstd.data(), with_delta ? sum.data() : nullptr,
                                residual.data(), with_delta ? delta.data() : nullptr, weight.data(),
                                T, H, eps, device);
    EXPECT(y.guards_intact(), name);
    return op_test::doubles(y);
  });
  const auto reference = [&](const Doubles& in) {
    return rmsnorm(in, op_test::doubles(weight), double(eps));
  };
  op_test::expect_close(out, reference(x), 2e-6, name);
  if (with_delta) op_test::expect_close(op_test::doubles(sum), x, 1e-7, name + " sum");

  const Numbers in(x.begin(), x.end());
  const auto gradient = op_test::on_all_thread_counts<float>(name, [&](qlora::Device& device) {
    Numbers dx = dresidual;
    qlora::ops::rmsnorm_backward(dx.data(), dout.data(), dout.ld, in.data(), rstd.data(),
                                 weight.data(), T, H, device);
    return dx;
  });
  op_test::expect_close(
      op_test::doubles(gradient),
      plus(op_test::doubles(dresidual), slope_of(x, op_test::doubles(dout), reference)), 3e-6,
      name + " gradient");
}

OP_TEST(rmsnorm_matches_double_precision) {
  check_rmsnorm(1, 1, false);
  check_rmsnorm(5, 123, true);
  check_rmsnorm(7, 64, false);
  check_rmsnorm(3, 200, true);
}

OP_TEST(rmsnorm_sum_may_be_the_residual) {
  Numbers residual = op_test::normal(3 * 20, 1), out(60);
  const Numbers delta = op_test::normal(60, 2), weight(20, 1.0f), start = residual;
  qlora::ops::rmsnorm_forward(out.data(), 20, nullptr, residual.data(), residual.data(),
                              delta.data(), weight.data(), 3, 20, 1e-5f, op_test::device(1));
  op_test::expect_close(op_test::doubles(residual),
                        plus(op_test::doubles(start), op_test::doubles(delta)), 1e-7, "sum");
}

// ---- per-head norm ----------------------------------------------------------------------------

OP_TEST(head_norm_matches_double_precision) {
  const int64_t T = 5, heads = 6, first = 2, count = 3;
  for (const int64_t D : {int64_t{6}, int64_t{16}, int64_t{80}}) {
    const std::string name = "D " + std::to_string(D);
    const Matrix start = Matrix::of(T, heads * D, heads * D + 1, 1);
    const Matrix dstart = Matrix::of(T, heads * D, heads * D + 1, 2);
    const Numbers weight = op_test::normal(D, 3);
    Matrix y = start, dqkv = dstart;
    Numbers rstd(size_t(T * count), NAN);
    qlora::ops::head_norm_forward(y.data(), y.ld, rstd.data(), weight.data(), T, first, count, D,
                                  1e-6f, op_test::device(2));
    qlora::ops::head_norm_backward(dqkv.data(), dqkv.ld, y.data(), y.ld, rstd.data(), weight.data(),
                                   T, first, count, D, op_test::device(2));
    const auto reference = [&](const Doubles& x) {
      Doubles out = x;
      for (int64_t t = 0; t < T; ++t) {
        const auto begin = x.begin() + (t * heads + first) * D;
        const Doubles normed =
            rmsnorm(Doubles(begin, begin + count * D), op_test::doubles(weight), 1e-6);
        std::copy(normed.begin(), normed.end(), out.begin() + (t * heads + first) * D);
      }
      return out;
    };
    const Doubles x = op_test::doubles(start);
    op_test::expect_close(op_test::doubles(y), reference(x), 2e-6, name);
    op_test::expect_close(op_test::doubles(dqkv), slope_of(x, op_test::doubles(dstart), reference),
                          1e-5, name + " gradient");
    EXPECT(y.guards_intact() && dqkv.guards_intact(), name);
  }
}

// ---- rope -------------------------------------------------------------------------------------

OP_TEST(rope_turns_and_turns_back) {
  const int64_t T = 7, Q = 4, G = 2;
  for (const int64_t D : {int64_t{2}, int64_t{10}, int64_t{32}, int64_t{128}}) {
    const std::string name = "D " + std::to_string(D);
    const int64_t half = D / 2, width = (Q + 2 * G) * D;
    const std::vector<int32_t> positions = {0, 1, 2, 0, 8, 3, 9};
    Numbers cosine, sine;
    for (int64_t i = 0; i < 10 * half; ++i) {
      const double angle = double(i / half) * std::pow(1e4, -double(i % half) / double(half));
      cosine.push_back(float(std::cos(angle)));
      sine.push_back(float(std::sin(angle)));
    }
    const Matrix start = Matrix::of(T, width, width + 1, 1);
    Doubles want;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t c = 0; c < width; ++c) {
        const int64_t i = c % D, pair = i % half;
        const bool rotated = c < (Q + G) * D;
        const int64_t at = positions[size_t(t)] * half + pair;
        const double other = i < half ? -double(start(t, rotated ? c + half : c))
                                      : double(start(t, rotated ? c - half : c));
        want.push_back(rotated ? double(start(t, c)) * double(cosine[size_t(at)]) +
                                     other * double(sine[size_t(at)])
                               : double(start(t, c)));
      }
    }
    const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
      Matrix x = start;
      qlora::ops::rope(x.data(), x.ld, positions.data(), cosine.data(), sine.data(), T, Q, G, D,
                       false, device);
      const Doubles turned = op_test::doubles(x);
      qlora::ops::rope(x.data(), x.ld, positions.data(), cosine.data(), sine.data(), T, Q, G, D,
                       true, device);
      op_test::expect_close(op_test::doubles(x), op_test::doubles(start), 1e-6, name + " back");
      EXPECT(x.guards_intact(), name);
      return turned;
    });
    op_test::expect_close(got, want, 1e-6, name);
  }
}

// ---- SwiGLU -----------------------------------------------------------------------------------

OP_TEST(swiglu_matches_double_precision) {
  for (const int64_t F : {int64_t{1}, int64_t{37}, int64_t{96}}) {
    const int64_t T = 5;
    const std::string name = "F " + std::to_string(F);
    const Numbers gate_up = op_test::normal(T * 2 * F, 1, 4.0f);
    const Matrix dout = Matrix::of(T, F, F + 1, 2);
    const auto reference = [&](const Doubles& x) {
      Doubles out;
      for (int64_t i = 0; i < T * F; ++i) {
        const size_t gate = size_t(i / F * 2 * F + i % F);
        out.push_back(x[gate] / (1.0 + std::exp(-x[gate])) * x[gate + size_t(F)]);
      }
      return out;
    };
    const auto out = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
      Matrix y(T, F, F + 3);
      qlora::ops::swiglu_forward(y.data(), y.ld, gate_up.data(), T, F, device);
      EXPECT(y.guards_intact(), name);
      return op_test::doubles(y);
    });
    const Doubles x = op_test::doubles(gate_up);
    op_test::expect_close(out, reference(x), 1e-6, name);
    const auto gradient = op_test::on_all_thread_counts<float>(name, [&](qlora::Device& device) {
      Numbers dx = gate_up;
      qlora::ops::swiglu_backward(dx.data(), dout.data(), dout.ld, T, F, device);
      return dx;
    });
    op_test::expect_close(op_test::doubles(gradient),
                          slope_of(x, op_test::doubles(dout), reference), 1e-6, name + " gradient");
  }
}

OP_TEST(swiglu_survives_extreme_gates) {
  const Numbers gate_up = {-200.0f, -88.0f, 88.0f, 200.0f, 1.0f, 1.0f, 1.0f, 1.0f};
  Numbers out(4, NAN);
  qlora::ops::swiglu_forward(out.data(), 4, gate_up.data(), 1, 4, op_test::device(1));
  op_test::expect_close(op_test::doubles(out), {0.0, 0.0, 88.0, 200.0}, 1e-7, "silu");
}

// ---- rows that move ---------------------------------------------------------------------------

OP_TEST(rows_are_gathered_and_scattered) {
  const int64_t n = 6, H = 77, V = 9;
  const Numbers table = op_test::normal(V * H, 1), dout = op_test::normal(n * H, 2);
  const std::vector<int32_t> rows = {8, 0, 0, 3, 3, 3};
  Numbers gathered(size_t(n * H), NAN), embedded = gathered;
  qlora::ops::gather_rows(gathered.data(), table.data(), H, rows.data(), n, H, op_test::device(2));
  qlora::ops::embedding_forward(embedded.data(), rows.data(), table.data(), n, H,
                                op_test::device(1));
  EXPECT(op_test::same_bits(gathered, embedded), "both read rows");
  for (int64_t i = 0; i < n * H; ++i) {
    EXPECT(gathered[size_t(i)] == table[size_t(rows[size_t(i / H)] * H + i % H)], "gathered");
  }
  Doubles want = op_test::doubles(table);
  for (int64_t i = 0; i < n * H; ++i) {
    want[size_t(rows[size_t(i / H)] * H + i % H)] += double(dout[size_t(i)]);
  }
  const auto got = op_test::on_all_thread_counts<float>("scatter", [&](qlora::Device& device) {
    Numbers dx = table;
    qlora::ops::scatter_add_rows(dx.data(), dout.data(), H, rows.data(), n, H, device);
    return dx;
  });
  op_test::expect_close(op_test::doubles(got), want, 1e-6, "scattered");
}

OP_TEST(windows_are_cast_and_biased) {
  const int64_t rows = 11, cols = 37;
  const Numbers source = op_test::normal(rows * cols, 1), bias = op_test::normal(cols, 2);
  Matrix x(rows, cols, cols + 4);
  qlora::ops::scale_cast(x.data(), x.ld, source.data(), rows, cols, 0.5f, op_test::device(2));
  qlora::ops::bias_forward(x.data(), x.ld, bias.data(), rows, cols, op_test::device(3));
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float want = 0.5f * source[size_t(i)] + bias[size_t(i % cols)];
    EXPECT(x(i / cols, i % cols) == want, std::to_string(i));
  }
  EXPECT(x.guards_intact(), "guards");
  // Two windows in one call: all columns, and some with zeros on both sides.
  Matrix y(rows, cols, cols + 1), z(rows, cols + 9, cols + 12);
  const qlora::ops::CastWindow windows[] = {
      {y.data(), y.ld, source.data(), rows, int32_t(cols), 0, int32_t(cols), 1.0f},
      {z.data(), z.ld, source.data(), rows, int32_t(cols + 9), 4, int32_t(cols), 2.0f}};
  qlora::ops::scale_cast_windows(windows, 2, op_test::device(2));
  for (int64_t i = 0; i < rows * cols; ++i) {
    EXPECT(y(i / cols, i % cols) == source[size_t(i)], std::to_string(i));
  }
  for (int64_t i = 0; i < rows * (cols + 9); ++i) {
    const int64_t row = i / (cols + 9), col = i % (cols + 9), from = col - 4;
    const float want = from >= 0 && from < cols ? 2.0f * source[size_t(row * cols + from)] : 0.0f;
    EXPECT(z(row, col) == want, std::to_string(i));
  }
  EXPECT(y.guards_intact() && z.guards_intact(), "guards of the windows");
}

}  // namespace
