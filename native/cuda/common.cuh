// What the kernels share: bf16 in vectors of eight, reductions over a warp and a block in a fixed
// order, launch shapes.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <utility>

#include "cuda_device.h"
#include "ops.h"

namespace qlora {
namespace cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- bf16 -------------------------------------------------------------------------------------

__device__ inline float to_float(act_t x) { return __bfloat162float(x); }
__device__ inline float to_float(float x) { return x; }
template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline act_t from_float<act_t>(float x) {
  return __float2bfloat16_rn(x);
}

// Two bf16 of one 32-bit word, the lower address in the low half.
__device__ inline float low_float(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float high_float(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Eight values in global memory, read and written as one 16-byte access (floats: two); p is 16-byte
// aligned. store16 names the instruction: left to the compiler, some stores come out as four of 4
// bytes.
struct Float8 {
  float v[8];
};
__device__ inline Float8 unpack8(uint4 raw) {
  return {{low_float(raw.x), high_float(raw.x), low_float(raw.y), high_float(raw.y),
           low_float(raw.z), high_float(raw.z), low_float(raw.w), high_float(raw.w)}};
}
__device__ inline uint4 pack8(const Float8& x) {
  return make_uint4(pack_bf16(x.v[0], x.v[1]), pack_bf16(x.v[2], x.v[3]),
                    pack_bf16(x.v[4], x.v[5]), pack_bf16(x.v[6], x.v[7]));
}
__device__ inline Float8 load8(const act_t* p) {
  return unpack8(*reinterpret_cast<const uint4*>(p));
}
__device__ inline Float8 load8(const float* p) {
  const float4 a = reinterpret_cast<const float4*>(p)[0], b = reinterpret_cast<const float4*>(p)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}
__device__ inline void store16(void* p, const uint4& x) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(x.x), "r"(x.y), "r"(x.z),
               "r"(x.w)
               : "memory");
}
__device__ inline void store8(act_t* p, const Float8& x) { store16(p, pack8(x)); }
__device__ inline void store8(float* p, const Float8& x) {
  reinterpret_cast<float4*>(p)[0] = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
}
// The first n (1 … 8) of eight values one by one, for row ends and unaligned rows; the rest is 0.
template <class T>
__device__ inline Float8 load_first8(const T* p, int64_t n) {
  Float8 x;
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = i < n ? to_float(p[i]) : 0.0f;
  return x;
}
template <class T>
__device__ inline void store_first8(T* p, const Float8& x, int64_t n) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i < n) p[i] = from_float<T>(x.v[i]);
  }
}
// Columns [c, c + 8) of a row of n; kAligned: the row begins on 16 bytes.
template <bool kAligned, class T>
__device__ inline Float8 load_row8(const T* row, int64_t c, int64_t n) {
  return kAligned && c + 8 <= n ? load8(row + c) : load_first8(row + c, n - c);
}
template <bool kAligned, class T>
__device__ inline void store_row8(T* row, int64_t c, int64_t n, const Float8& x) {
  if (kAligned && c + 8 <= n) {
    store8(row + c, x);
  } else {
    store_first8(row + c, x, n - c);
  }
}

// The same where kWhole says that the row begins on 16 bytes and n is a multiple of 8.
template <bool kWhole, class T>
__device__ inline Float8 load_whole8(const T* row, int64_t c, int64_t n) {
  return kWhole ? load8(row + c) : load_first8(row + c, n - c);
}
template <bool kWhole, class T>
__device__ inline void store_whole8(T* row, int64_t c, int64_t n, const Float8& x) {
  if (kWhole) {
    store8(row + c, x);
  } else {
    store_first8(row + c, x, n - c);
  }
}

// Whether rows of a matrix of T all begin on 16 bytes. A null pointer counts as aligned.
template <class T>
bool rows_aligned(const T* p, int64_t ld) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && ld * int64_t{sizeof(T)} % 16 == 0;
}

// ---- reductions: always the same tree, so always the same bits ---------------------------------

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
__device__ inline double warp_sum(double x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
__device__ inline float warp_max(float x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  return x;
}

// Over a block of kThreads (a multiple of 32, at most 1024); every thread gets the result. All
// threads call it; it may be called again at once.
template <int kThreads, class T>
__device__ inline T block_sum(T x) {
  constexpr int kWarps = kThreads / kWarp;
  x = warp_sum(x);
  if (kWarps == 1) return x;
  __shared__ T parts[kWarps];
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  T sum = parts[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) sum += parts[i];
  return sum;
}
template <int kThreads>
__device__ inline float block_max(float x) {
  constexpr int kWarps = kThreads / kWarp;
  x = warp_max(x);
  if (kWarps == 1) return x;
  __shared__ float parts[kWarps];
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  float top = parts[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) top = fmaxf(top, parts[i]);
  return top;
}

// ---- launches ---------------------------------------------------------------------------------

constexpr int kThreads = 256;  // of the kernels that work element by element

// Blocks for `items` threads; kernels loop when there are more items than threads.
inline unsigned blocks_for(int64_t items, int threads = kThreads) {
  const int64_t blocks = ceil_div(items, threads), most = int64_t{1} << 20;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}
// A grid-stride loop's first item and stride.
__device__ inline int64_t first_item() {
  return int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ inline int64_t item_stride() { return int64_t{gridDim.x} * blockDim.x; }

// ---- early launches -----------------------------------------------------------------------------
// From Hopper on, a kernel may be launched while the one in front of it still runs
// (programmatic dependent launch): a step of decoding is a chain of hundreds of kernels of a few
// microseconds. Such a kernel calls let_next_begin and await_previous once a thread, and before the
// latter writes nothing and reads only frozen weights: between the kernels that wrote those and it
// lies at least one plain launch, or the host has waited. Behind await_previous all earlier kernels
// have ended: each waited in its turn.

__device__ inline void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void await_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// A kernel that calls the two.
template <class... Parameters, class... Arguments>
void launch_early(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                  const CudaDevice& device, Arguments&&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = device.stream();
  config.attrs = &early;
  config.numAttrs = device.launches_early() ? 1 : 0;
  static_cast<void>(
      cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));  // check_launch
}

}  // namespace cuda
}  // namespace qlora
