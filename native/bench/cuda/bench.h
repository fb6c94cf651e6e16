// What the CUDA benchmarks share: the device, memory filled with random numbers, timing.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "cuda_device.h"
#include "ops.h"

namespace bench {

using qlora::act_t;
namespace ops = qlora::ops;

inline std::unique_ptr<qlora::Device>& shared_device() {
  static std::unique_ptr<qlora::Device> device = qlora::Device::create(qlora::DeviceOptions());
  return device;
}
inline qlora::cuda::CudaDevice& device() { return qlora::cuda::cuda_device(*shared_device()); }

// Device memory filled with normal numbers: zeros would be faster than real data.
template <class T>
struct Block {
  explicit Block(int64_t count, uint64_t seed = 1)
      : data(static_cast<T*>(device().allocate(size_t(count) * sizeof(T)))) {
    fill(count, seed);
  }
  ~Block() { device().release(data); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void fill(int64_t count, uint64_t seed);
  T* data;
};
template <>
inline void Block<float>::fill(int64_t count, uint64_t seed) {
  ops::random_normal(data, count, seed, 0, 1.0, device());
}
template <>
inline void Block<act_t>::fill(int64_t count, uint64_t seed) {
  constexpr int64_t kPiece = int64_t{1} << 24;
  const Block<float> piece(std::min(count, kPiece), seed);
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    if (begin > 0) {  // repeated values would draw less power in a product
      ops::random_normal(piece.data, size, seed, uint64_t(begin / kPiece), 1.0, device());
    }
    ops::scale_cast(data + begin, size, piece.data, 1, size, 1.0f, device());
  }
  device().synchronize();
}
template <>
inline void Block<uint8_t>::fill(int64_t count, uint64_t seed) {
  ops::random_uniform(reinterpret_cast<float*>(data), count / 4, seed, 0, 1.0, device());
}
template <>
inline void Block<int32_t>::fill(int64_t count, uint64_t) {
  std::vector<int32_t> ascending(static_cast<size_t>(count));
  for (size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<int32_t>(i);
  device().copy_to_device(data, ascending.data(), ascending.size() * sizeof(int32_t));
}

// Seconds that `launches` calls of work take, back to back, between two device events.
inline double seconds_of(const std::function<void()>& work, int launches) {
  using qlora::cuda::check;
  const cudaStream_t stream = device().stream();
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "creating an event");
  check(cudaEventCreate(&end), "creating an event");
  check(cudaEventRecord(begin, stream), "timing");
  for (int i = 0; i < launches; ++i) work();
  check(cudaEventRecord(end, stream), "timing");
  check(cudaEventSynchronize(end), "timing");
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin, end), "timing");
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return double(milliseconds) / 1e3;
}

// Median seconds of a run among `repeats` measurements of about a millisecond: as in a training
// step, where ops follow one another, the event's own few microseconds do not count.
inline double time_of(const std::function<void()>& work, int repeats = 15) {
  for (int i = 0; i < 2; ++i) work();
  const double once = seconds_of(work, 1);
  const int launches = once > 0.5e-3 ? 1 : static_cast<int>(std::min(1e-3 / once + 1, 200.0));
  std::vector<double> times;
  for (int i = 0; i < repeats; ++i) times.push_back(seconds_of(work, launches) / launches);
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[size_t(repeats) / 2];
}

}  // namespace bench
