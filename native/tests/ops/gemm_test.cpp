// gemm against sums in double, over odd shapes, all transposes, alpha and beta, and both ways a
// product can go (packed, direct).
#include "op_test.h"

namespace {

using op_test::Matrix;

struct Shape {
  int64_t m, n, k;
};

std::string name_of(const Shape& s, bool trans_a, bool trans_b, float beta) {
  return "m " + std::to_string(s.m) + " n " + std::to_string(s.n) + " k " + std::to_string(s.k) +
         (trans_a ? " ta" : "") + (trans_b ? " tb" : "") + " beta " + std::to_string(beta);
}

void check(const Shape& s, bool trans_a, bool trans_b, float alpha, float beta) {
  const std::string name = name_of(s, trans_a, trans_b, beta);
  const Matrix a = trans_a ? Matrix::of(s.k, s.m, s.m + 3, 1) : Matrix::of(s.m, s.k, s.k + 5, 1);
  const Matrix b = trans_b ? Matrix::of(s.n, s.k, s.k + 1, 2) : Matrix::of(s.k, s.n, s.n + 2, 2);
  const Matrix start = beta != 0.0f ? Matrix::of(s.m, s.n, s.n + 7, 3) : Matrix(s.m, s.n, s.n + 7);

  std::vector<double> want;
  for (int64_t i = 0; i < s.m; ++i) {
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = 0.0;
      for (int64_t p = 0; p < s.k; ++p) {
        sum += double(trans_a ? a(p, i) : a(i, p)) * double(trans_b ? b(j, p) : b(p, j));
      }
      want.push_back(double(alpha) * sum + (beta != 0.0f ? double(beta) * double(start(i, j)) : 0));
    }
  }
  const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
    Matrix c = start;
    qlora::ops::gemm(c.data(), c.ld, a.data(), a.ld, trans_a, b.data(), b.ld, trans_b, s.m, s.n,
                     s.k, alpha, beta, device);
    EXPECT(c.guards_intact(), name);
    return op_test::doubles(c);
  });
  op_test::expect_close(got, want, 2e-6 * std::sqrt(double(s.k) + 1.0), name);
}

constexpr Shape kShapes[] = {
    {1, 1, 1},    {5, 123, 7},   {123, 5, 123},  {12, 32, 16},    {13, 33, 17},    {48, 48, 600},
    {49, 31, 64}, {200, 16, 40}, {97, 100, 513}, {16, 130, 1030}, {130, 16, 1030}, {64, 272, 48},
};

OP_TEST(gemm_matches_double_precision) {
  for (const Shape& shape : kShapes) {
    for (int trans = 0; trans < 4; ++trans) {
      check(shape, (trans & 1) != 0, (trans & 2) != 0, 1.0f, 0.0f);
      check(shape, (trans & 1) != 0, (trans & 2) != 0, -0.5f, 1.0f);
    }
  }
}

OP_TEST(gemm_without_k_scales_c) {
  Matrix c = Matrix::of(3, 4, 5, 1);
  const Matrix start = c;
  qlora::ops::gemm(c.data(), c.ld, nullptr, 1, false, nullptr, 4, false, 3, 4, 0, 1.0f, 1.0f,
                   op_test::device(1));
  EXPECT(op_test::same_bits(c.values, start.values), "beta 1 keeps c");
  c.poison();
  qlora::ops::gemm(c.data(), c.ld, nullptr, 1, false, nullptr, 4, false, 3, 4, 0, 1.0f, 0.0f,
                   op_test::device(1));
  EXPECT(c(2, 3) == 0.0f, "beta 0 clears c");
}

// ops.h: a row of c has the same bits whatever m is.
OP_TEST(gemm_row_does_not_depend_on_the_number_of_rows) {
  const int64_t n = 70, k = 1100;
  const Matrix a = Matrix::of(130, k, k, 1);
  for (const bool trans_b : {false, true}) {
    const Matrix b = trans_b ? Matrix::of(n, k, k, 2) : Matrix::of(k, n, n, 2);
    Matrix whole(130, n, n);
    qlora::ops::gemm(whole.data(), n, a.data(), k, false, b.data(), b.ld, trans_b, 130, n, k, 1.0f,
                     0.0f, op_test::device(2));
    for (const int64_t m : {int64_t{1}, int64_t{2}, int64_t{13}, int64_t{48}, int64_t{49}}) {
      Matrix part(m, n, n);
      qlora::ops::gemm(part.data(), n, a.data() + 7 * k, k, false, b.data(), b.ld, trans_b, m, n, k,
                       1.0f, 0.0f, op_test::device(1));
      EXPECT(std::memcmp(part.data(), whole.data() + 7 * n, size_t(m * n) * sizeof(float)) == 0,
             "m " + std::to_string(m));
    }
  }
}

}  // namespace
