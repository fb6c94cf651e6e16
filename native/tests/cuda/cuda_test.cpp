// cuda_test.h, and main: runs every case, or those whose op's name contains the argument, and prints
// a table: the worst comparison of each op, and the seconds it took.
#include "cuda_test.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <random>

namespace cuda_test {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr int kMostPrinted = 5;

struct Outcome {
  int checks = 0, failures = 0;
  double ours = 0.0, allowed = 0.0, worst = -1.0;  // worst: largest ours / allowed
};
Outcome current;

void note(double ours, double allowed, const std::string& shape) {
  ++current.checks;
  const double share = ours <= allowed ? (allowed > 0.0 ? ours / allowed : 0.0)
                                       : std::numeric_limits<double>::infinity();
  if (share > current.worst) {
    current.worst = share;
    current.ours = ours;
    current.allowed = allowed;
  }
  if (ours <= allowed) return;
  if (++current.failures <= kMostPrinted) {
    std::printf("    %s: error %.3g, allowed %.3g\n", shape.c_str(), ours, allowed);
  }
}

}  // namespace

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

qlora::Device& device() {
  static const std::unique_ptr<qlora::Device> shared =
      qlora::Device::create(qlora::DeviceOptions());
  return *shared;
}

void expect(bool condition, const std::string& what) {
  ++current.checks;
  if (condition) return;
  if (++current.failures <= kMostPrinted) std::printf("    %s\n", what.c_str());
}

double error_of(const Doubles& got, const Doubles& want) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0, difference = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::fabs(want[i]));
    difference = std::max(difference, std::fabs(got[i] - want[i]));
  }
  return difference == 0.0 ? 0.0 : difference / std::max(largest, 1e-30);
}

void compare(const std::string& shape, const Doubles& got, const Doubles& want,
             const Doubles& naive) {
  constexpr double kFp32 = 1e-7;  // where naive bf16 happens to be exact
  note(error_of(got, want), 2.0 * error_of(naive, want) + kFp32, shape);
}

void compare_within(const std::string& shape, const Doubles& got, const Doubles& want,
                    double tolerance) {
  note(error_of(got, want), tolerance, shape);
}

Doubles normal_f32(int64_t count, uint32_t seed, double std) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> distribution(0.0, std);
  Doubles values(static_cast<size_t>(count));
  for (double& value : values) value = static_cast<double>(static_cast<float>(distribution(engine)));
  return values;
}

Doubles normal_bf16(int64_t count, uint32_t seed, double std) {
  return bf16(normal_f32(count, seed, std));
}

std::vector<float> floats(const Doubles& x) { return std::vector<float>(x.begin(), x.end()); }
Doubles doubles(const std::vector<float>& x) { return Doubles(x.begin(), x.end()); }

RawBuffer::RawBuffer(size_t bytes, size_t offset_bytes) : bytes_(bytes), offset_(offset_bytes) {
  const std::vector<char> poison(offset_ + bytes_ + kGuardBytes, char(0xff));
  base_ = static_cast<char*>(device().allocate(poison.size()));
  device().copy_to_device(base_, poison.data(), poison.size());
}

RawBuffer::~RawBuffer() {
  if (base_ != nullptr) device().release(base_);
}

RawBuffer::RawBuffer(RawBuffer&& other) noexcept
    : base_(other.base_), bytes_(other.bytes_), offset_(other.offset_) {
  other.base_ = nullptr;
}

void RawBuffer::write(const void* host) { device().copy_to_device(data(), host, bytes_); }

void RawBuffer::read(void* host) const {
  std::vector<char> all(offset_ + bytes_ + kGuardBytes);
  device().copy_to_host(all.data(), base_, all.size());
  std::memcpy(host, all.data() + offset_, bytes_);
  const auto untouched = [](char c) { return c == char(0xff); };
  expect(std::all_of(all.begin(), all.begin() + static_cast<int64_t>(offset_), untouched) &&
             std::all_of(all.end() - kGuardBytes, all.end(), untouched),
         "memory beyond an output was written");
}

Matrix::Matrix(int64_t rows, int64_t cols, int64_t ld, int64_t offset)
    : rows_(rows), cols_(cols), ld_(ld), storage_(rows * ld, offset) {}

Matrix::Bits Matrix::encode(double value) {
  const float narrow = static_cast<float>(value);
  uint32_t word;
  std::memcpy(&word, &narrow, sizeof word);
  return static_cast<Bits>(sizeof(Bits) == 2 ? word >> 16 : word);
}

double Matrix::decode(Bits bits) {
  const uint32_t word = sizeof(Bits) == 2 ? uint32_t{bits} << 16 : uint32_t{bits};
  float value;
  std::memcpy(&value, &word, sizeof value);
  return static_cast<double>(value);
}

Matrix::Matrix(const Doubles& values, int64_t rows, int64_t cols, int64_t ld, int64_t offset)
    : Matrix(rows, cols, ld, offset) {
  std::vector<Bits> bits(static_cast<size_t>(rows * ld), kPoison);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      bits[size_t(r * ld + c)] = encode(values[size_t(r * cols + c)]);
    }
  }
  device().copy_to_device(storage_.data(), bits.data(), bits.size() * sizeof bits[0]);
}

Doubles Matrix::read() const {
  const std::vector<Bits> bits = storage_.read();
  Doubles values;
  bool gaps = true;
  for (int64_t i = 0; i < rows_ * ld_; ++i) {
    if (i % ld_ < cols_) {
      values.push_back(decode(bits[size_t(i)]));
    } else {
      gaps = gaps && bits[size_t(i)] == kPoison;
    }
  }
  expect(gaps, "a gap between rows was written");
  return values;
}

namespace {

// Runs one case; returns what its comparisons came to.
Outcome run(const Case& test) {
  current = Outcome();
  try {
    test.run();
    device().synchronize();
  } catch (const std::exception& error) {
    expect(false, std::string("threw: ") + error.what());
  }
  return current;
}

}  // namespace
}  // namespace cuda_test

int main(int argc, char** argv) {
  using namespace cuda_test;
  const std::string filter = argc > 1 ? argv[1] : "";
  try {
    std::printf("%s\n", qlora::Device::describe().c_str());
    device().make_current();
  } catch (const std::exception& error) {
    std::printf("the CUDA op tests need a GPU: %s\n", error.what());
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a run that is cut off shows how far it came
  std::printf("%-34s %7s %11s %11s %8s\n", "op", "checks", "max error", "allowed", "seconds");
  int ops = 0, failed = 0;
  for (const Case& test : cases()) {
    if (std::string(test.op).find(filter) == std::string::npos) continue;
    const auto begun = std::chrono::steady_clock::now();
    const Outcome outcome = run(test);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
    const bool passed = outcome.failures == 0 && outcome.checks > 0;
    std::printf("%-34s %7d %11.3g %11.3g %8.1f  %s\n", test.op, outcome.checks, outcome.ours,
                outcome.allowed, seconds.count(), passed ? "pass" : "FAIL");
    ++ops;
    if (!passed) ++failed;
  }
  std::printf("%d ops, %d failed\n", ops, failed);
  return failed > 0 || ops == 0 ? 1 : 0;
}
