#include "rates.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace qlora {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSmallestProduct = 512;
constexpr int64_t kLargestProduct = 8192;
constexpr double kLongEnough = 1e-3;    // seconds of one product from which it fills the device
constexpr double kGroupSeconds = 0.02;  // timed together, so that launches and waits do not count
constexpr int kGroups = 25;
constexpr int64_t kCopyBytes = int64_t{256} << 20;  // each way; beyond any cache

class Block {
 public:
  Block(Device& device, int64_t bytes)
      : device_(device), data_(device.allocate(static_cast<size_t>(bytes))) {}
  ~Block() { device_.release(data_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  Device& device_;
  void* data_;
};

double time_of(const std::function<void()>& work, int64_t times, Device& device) {
  const Clock::time_point start = Clock::now();
  for (int64_t i = 0; i < times; ++i) work();
  device.synchronize();
  return std::chrono::duration<double>(Clock::now() - start).count() / static_cast<double>(times);
}

// Seconds of one run: of the fastest group of runs, as a ceiling is.
double seconds_of(const std::function<void()>& work, Device& device) {
  time_of(work, 1, device);  // libraries load, clocks rise
  const double once = time_of(work, 1, device);
  const int64_t times =
      std::max<int64_t>(1, static_cast<int64_t>(kGroupSeconds / std::max(once, 1e-6)));
  double fastest = time_of(work, times, device);
  for (int i = 1; i < kGroups; ++i) fastest = std::min(fastest, time_of(work, times, device));
  return fastest;
}

// Random act_t in rows of n: zeros would be faster than real numbers.
void fill_random(act_t* data, int64_t rows, int64_t n, uint64_t stream, Device& device) {
  const Block source(device, rows * n * static_cast<int64_t>(sizeof(float)));
  ops::random_normal(source.as<float>(), rows * n, 1, stream, 1.0, device);
  ops::scale_cast(data, n, source.as<float>(), rows, n, 1.0f, device);
  device.synchronize();
}

// Seconds of an [n, n] product, both matrices as a layer has them: x · wᵀ.
double product_seconds(int64_t n, Device& device) {
  const int64_t bytes = n * n * static_cast<int64_t>(sizeof(act_t));
  const Block x(device, bytes), w(device, bytes), y(device, bytes);
  fill_random(x.as<act_t>(), n, n, 0, device);
  fill_random(w.as<act_t>(), n, n, 1, device);
  return seconds_of(
      [&] {
        ops::gemm(y.as<act_t>(), n, x.as<act_t>(), n, false, w.as<act_t>(), n, true, n, n, n, 1.0f,
                  0.0f, device);
      },
      device);
}

double product_flops(int64_t& size, Device& device) {
  for (size = kSmallestProduct;; size *= 2) {
    const double seconds = product_seconds(size, device);
    const double n = static_cast<double>(size);
    const int64_t next = 4 * size * size * static_cast<int64_t>(3 * sizeof(act_t) + sizeof(float));
    const bool room = next < device.memory().free_bytes / 2;
    if (seconds >= kLongEnough || size >= kLargestProduct || !room) return 2 * n * n * n / seconds;
  }
}

}  // namespace

DeviceRates measure_rates(Device& device) {
  DeviceRates rates{};
  rates.product_flops = product_flops(rates.product_size, device);
  const int64_t free_bytes = device.memory().free_bytes;
  {
    const int64_t bytes = std::min(kCopyBytes, free_bytes / 4);
    const Block from(device, bytes), to(device, bytes);
    ops::random_uniform(from.as<float>(), bytes / static_cast<int64_t>(sizeof(float)), 1, 0, 1.0,
                        device);
    const double seconds = seconds_of(
        [&] { device.copy(to.as<void>(), from.as<void>(), static_cast<size_t>(bytes)); }, device);
    rates.copy_bytes = 2 * static_cast<double>(bytes) / seconds;
  }
  const int64_t bytes = std::min(kCopyBytes, free_bytes / 4);
  const std::vector<char> host(static_cast<size_t>(bytes), 1);
  const Block to(device, bytes);
  const double seconds =
      seconds_of([&] { device.copy_to_device(to.as<void>(), host.data(), host.size()); }, device);
  rates.upload_bytes = static_cast<double>(bytes) / seconds;
  return rates;
}

}  // namespace qlora
