// Hopper's warpgroup products and the barriers around them (sm_90a). 128 threads, four warps from a
// multiple of four on, multiply together: c [64, N] += a [64, 16] · b [16, N], bf16 with fp32 sums.
// Warp w holds rows 16w … 16w + 15 of c, and of a, as mma.cuh's fragments. b lies in shared memory,
// a there or in registers.
//
// Tiles in shared memory: rows of 64 bf16, 128 bytes, whose 16-byte chunks are permuted by the row
// (chunk ^ row % 8), from a multiple of 1024 bytes on. A tile of 128 columns is two such tiles, one
// behind the other.
#pragma once

#include "mma.cuh"

namespace qlora {
namespace cuda {

constexpr int kWarpgroup = 128;

// ---- barriers -----------------------------------------------------------------------------------

__device__ inline void barrier_init(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
}
__device__ inline void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier))
               : "memory");
}
// Arrives when all copies that this thread has started have landed.
__device__ inline void barrier_arrive_by_copies(uint64_t* barrier) {
  asm volatile(
      "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];\n" ::"r"(shared_address(barrier))
      : "memory");
}
// Until the phase of this parity (0 for the first) is complete.
__device__ inline void barrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "wait:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra wait;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
// Among `threads` threads; id: 1 … 15, one for each such set.
__device__ inline void sync_threads(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}
// Orders the writes to shared memory that this thread knows of, its own and those behind barriers
// it has waited for, before the products that it starts.
__device__ inline void fence_for_products() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

template <int kRegisters>
__device__ inline void registers_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void registers_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

// ---- operands in shared memory ------------------------------------------------------------------

// Where chunk (of eight columns) of a row lies, in a tile of kRows rows.
template <int kRows, class T>
__device__ inline T* swizzled(T* tile, int row, int chunk) {
  return tile + chunk / 8 * (kRows * 64) + row * 64 + ((chunk % 8 ^ row % 8) << 3);
}

// A product's operand: where it begins, in units of 16 bytes, and the strides in its tile.
struct Operand {
  uint32_t begin, strides;

  __device__ Operand operator+(int bytes) const { return {begin + bytes / 16, strides}; }
  __device__ uint64_t descriptor() const { return uint64_t{strides} << 32 | begin; }
};
constexpr uint32_t kSwizzle128 = 1u << 30;
constexpr uint32_t kEightRows = 1024 / 16;  // from eight rows to the next

// A shared address as descriptors have it: without the number of the block in its cluster.
__device__ inline uint32_t place_of(const act_t* tile) {
  return shared_address(tile) / 16 & 0x3fffu;
}

// As a, or as b [16, N] whose column n is the tile's row n: the sum runs along the rows. tile: the
// first of the rows, at a multiple of eight.
__device__ inline Operand operand(const act_t* tile) {
  return {1u << 16 | place_of(tile), kSwizzle128 | kEightRows};
}
// As b [16, 128] whose rows are 16 rows of the tile: the sum runs over them. The second 64 columns
// lie kRows · 128 bytes behind the first.
template <int kRows>
__device__ inline Operand operand_transposed(const act_t* tile) {
  return {uint32_t{kRows * 128 / 16} << 16 | place_of(tile), kSwizzle128 | kEightRows};
}
// Bytes from a tile's first 16 columns to its c-th, for a tile of kRows rows.
template <int kRows>
__device__ constexpr int column_bytes(int c) {
  return c / 4 * (kRows * 128) + c % 4 * 32;
}

// ---- products -----------------------------------------------------------------------------------

// Before the first product, and before one whose registers were written since.
__device__ inline void products_begin() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
__device__ inline void products_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
// Until at most kPending committed groups run.
template <int kPending>
__device__ inline void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving accesses to sums over this point.
template <int N>
__device__ inline void hold(float (&c)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(c[n][i])::"memory");
  }
}

#define QLORA_SUMS_4(c) "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])
#define QLORA_SUMS_16(c) \
  QLORA_SUMS_4((c)[0]), QLORA_SUMS_4((c)[1]), QLORA_SUMS_4((c)[2]), QLORA_SUMS_4((c)[3])
#define QLORA_SUMS_8(c) QLORA_SUMS_4((c)[0]), QLORA_SUMS_4((c)[1])
#define QLORA_SUMS_32(c) QLORA_SUMS_16(c), QLORA_SUMS_16((c) + 4)
#define QLORA_SUMS_64(c) QLORA_SUMS_32(c), QLORA_SUMS_32((c) + 8)

// c = a · b, or c += a · b where add. b from operand, or, kTransposed, from operand_transposed.
template <bool kTransposed>
__device__ inline void wgmma_64(float (*c)[4], const uint32_t a[4], Operand b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, add, 1, 1, %38;\n"
      "}\n"
      : QLORA_SUMS_32(c)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor()), "r"(int{add}),
        "n"(int{kTransposed}));
}
__device__ inline void wgmma_64(float (*c)[4], Operand a, Operand b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, add, 1, 1, 0, 0;\n"
      "}\n"
      : QLORA_SUMS_32(c)
      : "l"(a.descriptor()), "l"(b.descriptor()), "r"(int{add}));
}
template <bool kTransposed>
__device__ inline void wgmma_128(float (*c)[4], const uint32_t a[4], Operand b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, add, 1, 1, %70;\n"
      "}\n"
      : QLORA_SUMS_64(c)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor()), "r"(int{add}),
        "n"(int{kTransposed}));
}

// c += a · b with fewer columns, b from operand.
__device__ inline void wgmma_16(float (*c)[4], const uint32_t a[4], Operand b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11}, %12, 1, 1, 1, 0;\n"
      : QLORA_SUMS_8(c)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor()));
}
__device__ inline void wgmma_32(float (*c)[4], const uint32_t a[4], Operand b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, 1, 1, 1, 0;\n"
      : QLORA_SUMS_16(c)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.descriptor()));
}

#undef QLORA_SUMS_4
#undef QLORA_SUMS_8
#undef QLORA_SUMS_16
#undef QLORA_SUMS_32
#undef QLORA_SUMS_64

}  // namespace cuda
}  // namespace qlora
