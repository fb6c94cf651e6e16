// The clock the multiprocessors ran at between two points of a stream. A card at its power limit
// lowers it: a product that takes longer at the same clock is slower, one that takes longer at a
// lower clock may only draw more.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace bench {

// A multiprocessor's cycles and the GPU's nanoseconds at one moment; zeros: not seen.
struct ClockSample {
  int64_t cycles, nanoseconds;
};
constexpr int kMostMultiprocessors = 1024;

// samples (kMostMultiprocessors): those of the multiprocessors that a block comes to run on.
void sample_clocks(ClockSample* samples, int blocks, cudaStream_t stream);

}  // namespace bench
