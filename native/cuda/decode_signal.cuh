// How LoRA's second product goes on while U is still being computed. The chain of a group is
//   the kernel that leaves x → project (U = x · Aᵀ) → y = x · Wᵀ + U · sBᵀ
// and all W is read before U is needed. So the product does not wait for project to end, as a
// kernel launched early does, but for project's word that x is there; it waits for project itself
// when it adds U · sBᵀ. All blocks of project are on the GPU before one of the product is: nobody
// waits for work that cannot begin.
//
// A signal serves one product at a time and is never reset: `done` counts the products that used
// it, and x of the next is there when `ready` is one more. CudaDevice::next_signal hands out 1,024
// in turn, more than can be under way together.
#pragma once

#include "common.cuh"

namespace qlora {
namespace cuda {

// project: after await_previous, by one thread.
__device__ inline void announce_x(DecodeSignal* signal) {
  __threadfence();
  atomicAdd(&signal->ready, 1u);
}

// The product: all threads, instead of await_previous.
__device__ inline void await_x(const DecodeSignal* signal) {
  if (threadIdx.x == 0) {
    const unsigned wanted = *static_cast<const volatile unsigned*>(&signal->done) + 1;
    unsigned ready;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                   : "=r"(ready)
                   : "l"(&signal->ready)
                   : "memory");
    } while (ready != wanted);
  }
  __syncthreads();
}

// The product: at its end, by one thread a block.
__device__ inline void finish_with(DecodeSignal* signal) {
  if (atomicAdd(&signal->finished, 1u) != gridDim.x - 1) return;
  signal->finished = 0;
  atomicAdd(&signal->done, 1u);
}

}  // namespace cuda
}  // namespace qlora
