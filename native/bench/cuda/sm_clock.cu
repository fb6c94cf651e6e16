#include "cuda_device.h"
#include "sm_clock.h"

namespace bench {
namespace {

__global__ void sample_kernel(ClockSample* samples) {
  unsigned which;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(which));
  ClockSample now;
  now.cycles = clock64();
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now.nanoseconds));
  if (which < kMostMultiprocessors) samples[which] = now;
}

}  // namespace

void sample_clocks(ClockSample* samples, int blocks, cudaStream_t stream) {
  sample_kernel<<<static_cast<unsigned>(blocks), 1, 0, stream>>>(samples);
  qlora::cuda::check_launch("sample_clocks");
}

}  // namespace bench
