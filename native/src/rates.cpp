#include "rates.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <type_traits>
#include <vector>

namespace qlora {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSmallestProduct = 512;
constexpr int64_t kLargestProduct = 8192;
constexpr double kLongEnough = 1e-3;    // seconds of one product from which it fills the device
constexpr double kGroupSeconds = 0.02;  // timed together, so that launches and waits do not count
constexpr int kGroups = 25;
// Work without a pause, of which only what follows the settling counts. A card lowers its clock to
// the power it may draw within about a second; a processor's is settled sooner, and its products
// are short.
constexpr bool kCard = !std::is_same_v<act_t, float>;
constexpr double kSettlingSeconds = kCard ? 2.0 : 0.2;
constexpr double kSustainedSeconds = kCard ? 2.0 : 0.2;
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

// Seconds of one run after one that loads libraries and wakes the device.
double once(const std::function<void()>& work, Device& device) {
  time_of(work, 1, device);
  return time_of(work, 1, device);
}

int64_t group_size(double seconds) {
  return std::max<int64_t>(1, static_cast<int64_t>(kGroupSeconds / std::max(seconds, 1e-6)));
}

// Seconds of one run: of the fastest group of runs, as a ceiling is.
double seconds_of(const std::function<void()>& work, Device& device) {
  const int64_t times = group_size(once(work, device));
  double fastest = time_of(work, times, device);
  for (int i = 1; i < kGroups; ++i) fastest = std::min(fastest, time_of(work, times, device));
  return fastest;
}

// Seconds of one run, of which one took `seconds` before, when the device does nothing else for
// long.
double sustained_seconds_of(const std::function<void()>& work, double seconds, Device& device) {
  const int64_t times = group_size(seconds);
  const auto elapsed = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  for (const Clock::time_point start = Clock::now(); elapsed(start) < kSettlingSeconds;) {
    time_of(work, times, device);
  }
  const Clock::time_point start = Clock::now();
  int64_t runs = 0;
  for (; elapsed(start) < kSustainedSeconds; runs += times) time_of(work, times, device);
  return elapsed(start) / static_cast<double>(runs);
}

// Random act_t in rows of n: zeros would be faster than real numbers.
void fill_random(act_t* data, int64_t rows, int64_t n, uint64_t stream, Device& device) {
  const Block source(device, rows * n * static_cast<int64_t>(sizeof(float)));
  ops::random_normal(source.as<float>(), rows * n, 1, stream, 1.0, device);
  ops::scale_cast(data, n, source.as<float>(), rows, n, 1.0f, device);
  device.synchronize();
}

// A square product, both matrices as a layer has them: x · wᵀ.
class Product {
 public:
  Product(int64_t n, Device& device)
      : n_(n),
        device_(device),
        x_(device, n * n * static_cast<int64_t>(sizeof(act_t))),
        w_(device, n * n * static_cast<int64_t>(sizeof(act_t))),
        y_(device, n * n * static_cast<int64_t>(sizeof(act_t))) {
    fill_random(x_.as<act_t>(), n, n, 0, device);
    fill_random(w_.as<act_t>(), n, n, 1, device);
  }
  void operator()() const {
    ops::gemm(y_.as<act_t>(), n_, x_.as<act_t>(), n_, false, w_.as<act_t>(), n_, true, n_, n_, n_,
              1.0f, 0.0f, device_);
  }
  double flops() const {
    const double n = static_cast<double>(n_);
    return 2 * n * n * n;
  }

 private:
  int64_t n_;
  Device& device_;
  Block x_, w_, y_;
};

// The smallest power of two that keeps the device busy for a while; few runs, so that it stays
// cool.
int64_t product_size(Device& device) {
  for (int64_t n = kSmallestProduct;; n *= 2) {
    const Product product(n, device);
    const int64_t next = 4 * n * n * static_cast<int64_t>(3 * sizeof(act_t) + sizeof(float));
    const bool room = next < device.memory().free_bytes / 2;
    if (n >= kLargestProduct || !room) return n;
    if (once([&] { product(); }, device) >= kLongEnough) return n;
  }
}

void measure_products(DeviceRates& rates, Device& device) {
  rates.product_size = product_size(device);
  const Product product(rates.product_size, device);
  const std::function<void()> work = [&] { product(); };
  const double burst = seconds_of(work, device);
  const double sustained = sustained_seconds_of(work, burst, device);
  rates.product_flops = product.flops() / burst;
  rates.sustained_product_flops = product.flops() / sustained;
}

}  // namespace

DeviceRates measure_rates(Device& device) {
  DeviceRates rates{};
  measure_products(rates, device);
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
