#include "rounds.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "bench.h"
#include "sm_clock.h"

namespace bench {
namespace {

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Samples of two moments of the stream.
class Clocks {
 public:
  Clocks()
      : device_(static_cast<ClockSample*>(device().allocate(kBytes))),
        host_(2 * kMostMultiprocessors) {}
  ~Clocks() { device().release(device_); }
  Clocks(const Clocks&) = delete;
  Clocks& operator=(const Clocks&) = delete;

  void begin() {
    device().fill_zero(device_, kBytes);
    sample(0);
  }
  // MHz since begin().
  double end() {
    sample(1);
    device().copy_to_host(host_.data(), device_, kBytes);
    std::vector<double> megahertz;
    for (int i = 0; i < kMostMultiprocessors; ++i) {
      const ClockSample &from = host_[size_t(i)], &to = host_[size_t(kMostMultiprocessors + i)];
      if (from.nanoseconds == 0 || to.nanoseconds <= from.nanoseconds) continue;
      megahertz.push_back(1e3 * double(to.cycles - from.cycles) /
                          double(to.nanoseconds - from.nanoseconds));
    }
    return median(megahertz);
  }

 private:
  static constexpr size_t kBytes = 2 * kMostMultiprocessors * sizeof(ClockSample);
  void sample(int moment) {
    sample_clocks(device_ + moment * kMostMultiprocessors, device().sm_count(), device().stream());
  }
  ClockSample* device_;
  std::vector<ClockSample> host_;
};

}  // namespace

std::vector<Times> time_in_rounds(const std::vector<Way>& ways, int rounds, double seconds) {
  const size_t count = ways.size();
  std::vector<int> launches;
  for (const Way& way : ways) {
    way.work();
    launches.push_back(std::max(1, static_cast<int>(seconds / seconds_of(way.work, 1) + 0.5)));
  }
  Clocks clocks;
  std::vector<std::vector<double>> times(count), ratios(count), megahertz(count);
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::mt19937 random(1);
  std::vector<double> now(count);
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const size_t i : order) {
      clocks.begin();
      now[i] = seconds_of(ways[i].work, launches[i]) / launches[i];
      megahertz[i].push_back(clocks.end());
    }
    for (size_t i = 0; i < count; ++i) {
      times[i].push_back(now[i]);
      ratios[i].push_back(now[i] / now[0]);
    }
  }
  std::vector<Times> result;
  for (size_t i = 0; i < count; ++i) {
    result.push_back({median(times[i]), median(ratios[i]), median(megahertz[i])});
  }
  return result;
}

}  // namespace bench
