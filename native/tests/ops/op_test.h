// What the op tests share: a case registry, reproducible numbers, matrices with guarded gaps and
// poisoned contents, comparison against a double-precision reference, devices of several sizes.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ops.h"

namespace op_test {

struct Case {
  const char* name;
  void (*run)();
};
std::vector<Case>& cases();
struct Register {
  Register(const char* name, void (*run)()) { cases().push_back({name, run}); }
};
#define OP_TEST(name)                                          \
  static void name();                                          \
  static const op_test::Register register_##name(#name, name); \
  static void name()

// Counts a failure of the running case and prints it.
void fail(const std::string& what);
#define EXPECT(condition, what)                                                             \
  do {                                                                                      \
    if (!(condition)) op_test::fail(std::string(#condition) + " does not hold: " + (what)); \
  } while (false)

using Numbers = std::vector<float>;

// Normal numbers; the same for the same seed.
inline Numbers normal(int64_t count, uint32_t seed, float std = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution(0.0f, std);
  Numbers values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(engine);
  return values;
}

constexpr float kGuard = -12345.5f;  // fills the gaps between the rows

// rows × cols at a leading dimension ld, with guard values in the gaps and behind the end.
struct Matrix {
  int64_t rows, cols, ld;
  Numbers values;

  Matrix(int64_t row_count, int64_t col_count, int64_t leading)
      : rows(row_count),
        cols(col_count),
        ld(leading),
        values(static_cast<size_t>(row_count * leading + 64), kGuard) {
    poison();
  }
  static Matrix of(int64_t rows, int64_t cols, int64_t ld, uint32_t seed, float std = 1.0f) {
    Matrix matrix(rows, cols, ld);
    const Numbers source = normal(rows * cols, seed, std);
    for (int64_t i = 0; i < rows * cols; ++i) matrix(i / cols, i % cols) = source[size_t(i)];
    return matrix;
  }
  float* data() { return values.data(); }
  const float* data() const { return values.data(); }
  float& operator()(int64_t row, int64_t col) { return values[size_t(row * ld + col)]; }
  float operator()(int64_t row, int64_t col) const { return values[size_t(row * ld + col)]; }
  // NaN everywhere, so that an element that is not written shows.
  void poison() {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) (*this)(r, c) = std::numeric_limits<float>::quiet_NaN();
    }
  }
  bool guards_intact() const {
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / ld, col = static_cast<int64_t>(i) % ld;
      if ((row >= rows || col >= cols) && values[i] != kGuard) return false;
    }
    return true;
  }
};

// Largest |got − want| over the largest |want| (at least `floor`); infinite for NaN.
double error_of(const std::vector<double>& got, const std::vector<double>& want,
                double floor = 1e-3);
inline std::vector<double> doubles(const Numbers& values) {
  return std::vector<double>(values.begin(), values.end());
}
inline std::vector<double> doubles(const Matrix& matrix) {
  std::vector<double> values;
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.cols; ++c) values.push_back(double(matrix(r, c)));
  }
  return values;
}
void expect_close(const std::vector<double>& got, const std::vector<double>& want, double tolerance,
                  const std::string& what);

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

qlora::Device& device(int threads);       // made once for each number of threads
const std::vector<int>& thread_counts();  // 1, 2, 3, 5

// Runs make on every thread count; every run must give the same bits. Returns the result of one.
template <class T>
std::vector<T> on_all_thread_counts(const std::string& what,
                                    const std::function<std::vector<T>(qlora::Device&)>& make) {
  const std::vector<T> first = make(device(thread_counts()[0]));
  for (const int threads : thread_counts()) {
    const std::vector<T> again = make(device(threads));
    EXPECT(same_bits(first, again), what + " with " + std::to_string(threads) + " threads");
  }
  return first;
}

}  // namespace op_test
