// Rates of the dense products at the shapes a training step of a small model uses, against the
// fp32 multiply-add peak of one core times the threads.
//   gemm_bench [threads] [repeats]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ops.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Case {
  const char* name;
  bool trans_a, trans_b;
  int64_t m, n, k;
};

constexpr Case kCases[] = {
    {"qkv forward [X|U][W|sB]'", false, true, 2400, 512, 304},
    {"o forward", false, true, 2400, 256, 272},
    {"gate+up forward", false, true, 2400, 1408, 288},
    {"down forward", false, true, 2400, 256, 720},
    {"qkv dX", false, false, 2400, 304, 512},
    {"gate+up dX", false, false, 2400, 288, 1408},
    {"down dX", false, false, 2400, 720, 256},
    {"logits", false, true, 800, 4096, 256},
    {"dlogits", false, false, 800, 256, 4096},
    {"U = X A', r 16", false, true, 2400, 16, 704},
    {"U = X A', R 48", false, true, 2400, 48, 256},
    {"dU, r 16", false, false, 2400, 16, 704},
    {"dA, R 48", true, false, 48, 256, 2400},
    {"dA, r 16", true, false, 16, 704, 2400},
    {"dB, r 16", true, false, 704, 16, 2400},
};

double seconds_of(const Case& x, int repeats, qlora::Device& device) {
  const int64_t lda = x.trans_a ? x.m : x.k, ldb = x.trans_b ? x.k : x.n;
  std::vector<float> a(size_t(x.m * x.k), 0.5f), b(size_t(x.k * x.n), 0.25f), c(size_t(x.m * x.n));
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const Clock::time_point start = Clock::now();
    qlora::ops::gemm(c.data(), x.n, a.data(), lda, x.trans_a, b.data(), ldb, x.trans_b, x.m, x.n,
                     x.k, 1.0f, 0.0f, device);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  qlora::DeviceOptions options;
  options.threads = argc > 1 ? std::atoi(argv[1]) : 0;
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 20;
  const auto device = qlora::Device::create(options);
  std::printf("%s\n", qlora::Device::describe().c_str());
  for (const Case& x : kCases) {
    const double seconds = seconds_of(x, repeats, *device);
    const double flops = 2.0 * double(x.m) * double(x.n) * double(x.k);
    std::printf("%-28s m %5lld n %5lld k %5lld  %8.3f ms  %7.1f GFLOP/s\n", x.name,
                static_cast<long long>(x.m), static_cast<long long>(x.n),
                static_cast<long long>(x.k), seconds * 1e3, flops / seconds / 1e9);
  }
  return 0;
}
