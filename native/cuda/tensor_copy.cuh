// Boxes of matrices to shared memory by Hopper's copy engine, started by one thread; a barrier of
// wgmma.cuh counts their bytes.
#pragma once

#include "tensor_map.h"
#include "wgmma.cuh"

namespace qlora {
namespace cuda {

// Behind barrier_init, by the thread that did it: the copy engine sees the barriers.
__device__ inline void fence_for_copies() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
// Arrives; the phase is complete when that many bytes have landed besides.
__device__ inline void barrier_expect(uint64_t* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
// Brings a map near, of which copies come later.
__device__ inline void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}
// The box whose first element is (row, column), to shared memory at a multiple of 128 bytes (of
// 1,024: tile_map). Elements behind the matrix's end are zeros, and count.
__device__ inline void copy_box(void* to, const CUtensorMap* map, int row, int column,
                                uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];\n" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
}

}  // namespace cuda
}  // namespace qlora
