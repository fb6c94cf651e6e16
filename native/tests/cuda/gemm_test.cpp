// Products: all transposes, leading dimensions, factors, both result types; LoRA's shapes among them.
#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

struct Size {
  int64_t m, n, k, gap;
};
const Size kSizes[] = {{1, 1, 1, 0},     {1, 17, 64, 16},   {7, 9, 33, 0},      {5, 123, 123, 3},
                       {64, 64, 64, 16}, {129, 65, 257, 0}, {300, 16, 512, 16}, {48, 304, 4096, 16},
                       {16, 512, 333, 16}};
struct Factors {
  float alpha, beta;
};
const Factors kFactors[] = {{1.0f, 0.0f}, {2.0f, 1.0f}, {-0.5f, 0.25f}};

// One product's operands, stored as asked, and its exact result.
struct Product {
  Size size;
  bool trans_a, trans_b;
  Factors factors;
  Doubles a, b, c, sums;  // a [m, k], b [k, n], c [m, n] before; sums = a · b

  Product(const Size& s, bool ta, bool tb, const Factors& f)
      : size(s), trans_a(ta), trans_b(tb), factors(f), a(normal_bf16(s.m * s.k, 1)),
        b(normal_bf16(s.k * s.n, 2)), c(normal_bf16(s.m * s.n, 3)), sums(size_t(s.m * s.n), 0.0) {
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t p = 0; p < s.k; ++p) {
        const double x = a[size_t(i * s.k + p)];
        for (int64_t j = 0; j < s.n; ++j) sums[size_t(i * s.n + j)] += x * b[size_t(p * s.n + j)];
      }
    }
  }
  std::string name() const {
    return shape("m", size.m, "n", size.n, "k", size.k, "trans", int(trans_a), int(trans_b));
  }
  Doubles want() const {
    Doubles result = sums;
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = double(factors.alpha) * sums[i];
      if (factors.beta != 0.0f) result[i] += double(factors.beta) * c[i];
    }
    return result;
  }
  Doubles naive() const {
    Doubles result = sums;
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = bf16(double(factors.alpha) * bf16(sums[i]));
      if (factors.beta != 0.0f) result[i] = bf16(result[i] + bf16(double(factors.beta) * c[i]));
    }
    return result;
  }
};

Matrix stored(const Doubles& values, int64_t rows, int64_t cols, bool transposed, int64_t gap) {
  if (!transposed) return Matrix(values, rows, cols, cols + gap);
  Doubles turned(values.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) turned[size_t(c * rows + r)] = values[size_t(r * cols + c)];
  }
  return Matrix(turned, cols, rows, rows + gap);
}

template <class Check>
void for_all_products(const Check& check) {
  for (const Size& s : kSizes) {
    for (const bool trans_a : {false, true}) {
      for (const bool trans_b : {false, true}) {
        for (const Factors& f : kFactors) {
          const Product x(s, trans_a, trans_b, f);
          check(x, stored(x.a, s.m, s.k, trans_a, s.gap), stored(x.b, s.k, s.n, trans_b, s.gap));
        }
      }
    }
  }
}

CUDA_OP_TEST(gemm) {
  for_all_products([](const Product& x, const Matrix& a, const Matrix& b) {
    const Size& s = x.size;
    const auto result = twice(x.name(), [&] {
      // Where beta is 0, c is not read: it holds NaN.
      const Matrix c = x.factors.beta == 0.0f ? Matrix(s.m, s.n, s.n + s.gap)
                                              : Matrix(x.c, s.m, s.n, s.n + s.gap);
      ops::gemm(c.data(), c.ld(), a.data(), a.ld(), x.trans_a, b.data(), b.ld(), x.trans_b, s.m,
                s.n, s.k, x.factors.alpha, x.factors.beta, device());
      return c.read();
    });
    compare(x.name(), result, x.want(), x.naive());
  });
}

CUDA_OP_TEST(gemm_f32) {
  for_all_products([](const Product& x, const Matrix& a, const Matrix& b) {
    const Size& s = x.size;
    const auto result = twice(x.name(), [&] {
      const Buffer<float> c = x.factors.beta == 0.0f ? Buffer<float>(s.m * s.n) : f32_buffer(x.c);
      ops::gemm_f32(c.data(), s.n, a.data(), a.ld(), x.trans_a, b.data(), b.ld(), x.trans_b, s.m,
                    s.n, s.k, x.factors.alpha, x.factors.beta, device());
      return c.read();
    });
    compare_within(x.name(), doubles(result), x.want(), 5e-5);
  });
}

// A window of wider matrices, as U = drop(X) · Aᵀ is written behind X in the same rows.
CUDA_OP_TEST(gemm_window) {
  const int64_t T = 37, H = 96, R = 16, ld = H + R;
  const Doubles x = normal_bf16(T * H, 1), a = normal_bf16(R * H, 2);
  const Matrix lora(a, R, H, H);
  Doubles wide(size_t(T * ld), 0.0), want(size_t(T * R), 0.0);
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t h = 0; h < H; ++h) wide[size_t(t * ld + h)] = x[size_t(t * H + h)];
    for (int64_t r = 0; r < R; ++r) {
      for (int64_t h = 0; h < H; ++h) {
        want[size_t(t * R + r)] += x[size_t(t * H + h)] * a[size_t(r * H + h)];
      }
    }
  }
  const Matrix rows(wide, T, ld, ld);
  ops::gemm(rows.data() + H, ld, rows.data(), ld, false, lora.data(), H, true, T, R, H, 1.0f, 0.0f,
            device());
  const Doubles all = rows.read();
  Doubles left, right;
  for (int64_t i = 0; i < T * ld; ++i) (i % ld < H ? left : right).push_back(all[size_t(i)]);
  expect(left == x, "the columns beside the window changed");
  compare("window", right, want, bf16(want));
}

}  // namespace
