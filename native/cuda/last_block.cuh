// Kernels whose last block gathers what the others left in memory. The order of arrival decides only
// who does it, never what it reads: the same bits.
#pragma once

#include "common.cuh"

namespace qlora {
namespace cuda {

// Whether this block is the last of `blocks` to come here with this ticket, which is 0 again then.
// What all of them wrote before is visible to the last, read with __ldcg. All threads call it.
__device__ inline bool is_last_block(unsigned* ticket, unsigned blocks) {
  __threadfence();
  __syncthreads();
  bool last = false;
  if (threadIdx.x == 0) {
    last = atomicAdd(ticket, 1u) == blocks - 1;
    if (last) *ticket = 0;
  }
  last = __syncthreads_or(last);
  if (last) __threadfence();
  return last;
}

}  // namespace cuda
}  // namespace qlora
