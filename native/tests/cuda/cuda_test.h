// What the CUDA op tests share; they can be built over the CPU ops too, which checks the references
// themselves. Every op is compared with a reference in double on the host, by the
// rule err(ours, reference) ≤ 2 · err(naive bf16, reference): a naive bf16 implementation rounds after
// every step. Memory an op does not own, gaps between rows included, holds NaN before and after: what
// is not written, or read beyond its end, shows.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "ops.h"

namespace cuda_test {

using qlora::act_t;
using Doubles = std::vector<double>;

// ---- cases ------------------------------------------------------------------------------------

// One struct an op, registered by CUDA_OP_TEST(op) { … }.
struct Case {
  const char* op;
  void (*run)();
};
std::vector<Case>& cases();
struct Register {
  Register(const char* op, void (*run)()) { cases().push_back({op, run}); }
};
#define CUDA_OP_TEST(op)                                            \
  static void test_##op();                                          \
  static const cuda_test::Register register_##op(#op, test_##op);   \
  static void test_##op()

qlora::Device& device();

// "T 5 H 123"
template <class... Rest>
std::string shape(Rest... rest) {
  std::string text;
  const auto one = [&](const auto& part) {
    if constexpr (std::is_convertible<decltype(part), std::string>::value) {
      text += (text.empty() ? "" : " ") + std::string(part);
    } else {
      text += " " + std::to_string(part);
    }
  };
  (one(rest), ...);
  return text;
}

// Each counts a comparison of the running case; a failed one is printed with the shape.
void expect(bool condition, const std::string& what);
// Largest |got − want| over the largest |want|; infinite for NaN where none is wanted.
double error_of(const Doubles& got, const Doubles& want);
// The rule above.
void compare(const std::string& shape, const Doubles& got, const Doubles& want,
             const Doubles& naive);
// For fp32 results: error ≤ tolerance.
void compare_within(const std::string& shape, const Doubles& got, const Doubles& want,
                    double tolerance);

// make() twice: the same bits, or a failure. Returns the first.
template <class Make>
auto twice(const std::string& shape, const Make& make) {
  const auto first = make();
  const auto second = make();
  expect(first.size() == second.size() &&
             std::memcmp(first.data(), second.data(), first.size() * sizeof first[0]) == 0,
         shape + ": two runs differ");
  return first;
}

// ---- numbers ----------------------------------------------------------------------------------

// The nearest bf16, ties to even.
inline double bf16(double x) {
  const float value = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (!std::isfinite(value)) return static_cast<double>(value);
  bits += 0x7fffu + (bits >> 16 & 1u);
  bits &= 0xffff0000u;
  float rounded;
  std::memcpy(&rounded, &bits, sizeof rounded);
  return static_cast<double>(rounded);
}
inline Doubles bf16(Doubles x) {
  for (double& value : x) value = bf16(value);
  return x;
}
// As an activation holds it: bf16, or fp32 where these tests are built over the CPU ops.
inline double stored(double x) {
  return sizeof(act_t) == 2 ? bf16(x) : static_cast<double>(static_cast<float>(x));
}
inline Doubles stored(Doubles x) {
  for (double& value : x) value = stored(value);
  return x;
}
// Normal numbers that are exact in fp32, or in bf16; the same for the same seed.
Doubles normal_f32(int64_t count, uint32_t seed, double std = 1.0);
Doubles normal_bf16(int64_t count, uint32_t seed, double std = 1.0);
std::vector<float> floats(const Doubles& x);
Doubles doubles(const std::vector<float>& x);

// ---- device memory ----------------------------------------------------------------------------

// count values on the device, then guards; NaN (all bits set) at first. offset shifts the first
// value, for pointers that are not aligned.
class RawBuffer {
 public:
  RawBuffer(size_t bytes, size_t offset_bytes);
  ~RawBuffer();
  RawBuffer(RawBuffer&& other) noexcept;
  RawBuffer(const RawBuffer&) = delete;
  RawBuffer& operator=(const RawBuffer&) = delete;
  void* data() const { return base_ + offset_; }
  void write(const void* host);
  void read(void* host) const;  // and checks the guards

 private:
  char* base_;
  size_t bytes_, offset_;
};

template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count, int64_t offset = 0)
      : count_(count), raw_(size_t(count) * sizeof(T), size_t(offset) * sizeof(T)) {}
  explicit Buffer(const std::vector<T>& values, int64_t offset = 0)
      : Buffer(static_cast<int64_t>(values.size()), offset) {
    raw_.write(values.data());
  }
  T* data() const { return static_cast<T*>(raw_.data()); }
  std::vector<T> read() const {
    std::vector<T> values(static_cast<size_t>(count_));
    raw_.read(values.data());
    return values;
  }

 private:
  int64_t count_;
  RawBuffer raw_;
};

inline Buffer<float> f32_buffer(const Doubles& values) { return Buffer<float>(floats(values)); }

// Activations [rows, cols] with rows ld apart; the gaps are NaN and stay so.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t cols, int64_t ld, int64_t offset = 0);  // NaN
  // values must be exact in bf16.
  Matrix(const Doubles& values, int64_t rows, int64_t cols, int64_t ld, int64_t offset = 0);
  act_t* data() const { return reinterpret_cast<act_t*>(storage_.data()); }
  int64_t ld() const { return ld_; }
  Doubles read() const;  // rows · cols values; checks the gaps

 private:
  using Bits = std::conditional<sizeof(act_t) == 2, uint16_t, uint32_t>::type;
  static constexpr Bits kPoison = static_cast<Bits>(~Bits{0});
  static Bits encode(double value);
  static double decode(Bits bits);

  int64_t rows_, cols_, ld_;
  Buffer<Bits> storage_;
};

}  // namespace cuda_test
