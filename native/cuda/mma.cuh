// The warp-wide pieces of the tensor-core kernels, sm_80 and later: asynchronous copies to shared
// memory, 8 × 8 matrix loads, and the product of bf16 fragments with fp32 sums.
//
// mma.m16n8k16, c [16, 8] += a [16, 16] · b [16, 8], with g = lane / 4, t = lane % 4:
//   a[0], a[1]: rows g, g + 8 of columns 2t, 2t + 1;  a[2], a[3]: of columns 2t + 8, 2t + 9
//   b[0], b[1]: column g of rows 2t, 2t + 1 and 2t + 8, 2t + 9
//   c[0], c[1]: row g, columns 2t, 2t + 1;            c[2], c[3]: row g + 8
// So a pair of neighbouring c tiles, rounded to bf16, is a fragment a of the next product.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace qlora {
namespace cuda {

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 (or 4) bytes from global to shared memory, both so aligned; zeros where !valid, and then
// nothing is read.
__device__ inline void copy16_async(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void copy4_async(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 4 : 0)
               : "memory");
}
__device__ inline void copies_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits until at most kPending of this thread's committed groups are on their way.
template <int kPending>
__device__ inline void copies_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}
__device__ inline void copies_wait_all() { asm volatile("cp.async.wait_all;\n" ::: "memory"); }

// Four 8 × 8 matrices; lanes 8i … 8i + 7 give the addresses of the rows of matrix i.
__device__ inline void load_matrices(uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += a · b
__device__ inline void mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x to 2 ulp; 2^−∞ = 0.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace cuda
}  // namespace qlora
