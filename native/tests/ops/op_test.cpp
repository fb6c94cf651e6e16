// op_test.h, and main: runs every case, or those whose name contains the argument. Exit code 2:
// there is no device to test.
#include "op_test.h"

#include <algorithm>
#include <map>

namespace op_test {
namespace {
int failures_in_case = 0;
constexpr int kMostPrinted = 5;
}  // namespace

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

void fail(const std::string& what) {
  if (++failures_in_case <= kMostPrinted) std::printf("    %s\n", what.c_str());
}

double error_of(const std::vector<double>& got, const std::vector<double>& want, double floor) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double largest = floor, difference = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    if (!std::isfinite(got[i]) || !std::isfinite(want[i])) {
      return std::numeric_limits<double>::infinity();
    }
    difference = std::max(difference, std::fabs(got[i] - want[i]));
  }
  for (const double value : want) {
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  }
  return difference / largest;
}

void expect_close(const std::vector<double>& got, const std::vector<double>& want, double tolerance,
                  const std::string& what) {
  const double error = error_of(got, want);
  if (error <= tolerance) return;
  fail(what + ": relative error " + std::to_string(error / tolerance) + " times the tolerance");
}

qlora::Device& device(int threads) {
  static std::map<int, std::unique_ptr<qlora::Device>> devices;
  std::unique_ptr<qlora::Device>& slot = devices[threads];
  if (!slot) {
    qlora::DeviceOptions options;
    options.threads = threads;
    slot = qlora::Device::create(options);
  }
  return *slot;
}

const std::vector<int>& thread_counts() {
  static const std::vector<int> counts = {1, 2, 3, 5};
  return counts;
}

}  // namespace op_test

int main(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  std::string device;
  try {
    device = qlora::Device::describe();
  } catch (const std::exception& error) {
    std::printf("these tests need a device: %s\n", error.what());
    return 2;
  }
  int failed = 0, run = 0;
  for (const op_test::Case& test : op_test::cases()) {
    if (std::string(test.name).find(filter) == std::string::npos) continue;
    op_test::failures_in_case = 0;
    ++run;
    try {
      test.run();
    } catch (const std::exception& error) {
      op_test::fail(std::string("threw: ") + error.what());
    }
    if (op_test::failures_in_case > 0) {
      ++failed;
      std::printf("FAILED %s (%d failures)\n", test.name, op_test::failures_in_case);
    }
  }
  std::printf("%d tests on %s: %d failed\n", run, device.c_str(), failed);
  return failed > 0 || run == 0 ? 1 : 0;
}
