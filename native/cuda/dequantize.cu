// dequantize: w[i] = code(i) · absmax(i / 64), i the flat index; with double quantisation
// absmax = map[code2] · absmax2[i / 64 / 256] + offset, undone in the same kernel.
//
// Bound by memory: .516 bytes read and 2 written a value. A thread turns 4 packed bytes into 16, so
// that a warp reads 128 bytes and writes 512, and has kAhead such groups in flight. Both tables lie
// in shared memory (the sixteen codes in sixteen banks, where no two lanes conflict), filled once by
// blocks that stay and walk over the weight.
#include <algorithm>

#include "common.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kAhead = 4;
constexpr int kGroupsAtOnce = kThreads * kAhead;  // of a block
constexpr int kBlocksPerSm = 8;
constexpr int64_t kMostGroups = int64_t{1} << 30;  // a launch: group indices fit 32 bits

// The constants of a weight.
struct Scales {
  const float* absmax;
  const uint8_t* absmax_codes;
  const float* absmax2;
  float offset;
};

__device__ inline float block_absmax(const Scales& s, int64_t block, const float* map) {
  if (s.absmax != nullptr) return s.absmax[block];
  const float scaled = __fmul_rn(map[s.absmax_codes[block]], s.absmax2[block / kAbsmaxBlock]);
  return __fadd_rn(scaled, s.offset);
}

__device__ inline void load_tables(float* codes, float* map, const Nf4Codes& nf4,
                                   const DynamicMap& dynamic) {
  if (threadIdx.x < 16) codes[threadIdx.x] = nf4.value[threadIdx.x];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) map[i] = dynamic.value[i];
  __syncthreads();
}

// Groups of eight values: in % 8 == 0, `first` (the flat index of dst's first value) % 8 == 0, packed
// 4-byte and dst's rows 16-byte aligned.
__global__ void __launch_bounds__(kThreads)
    dequantize_groups_kernel(act_t* dst, int64_t ld, const uint8_t* packed, Scales scales,
                             int64_t first, uint32_t groups_per_row, uint32_t groups,
                             const __grid_constant__ Nf4Codes nf4,
                             const __grid_constant__ DynamicMap dynamic) {
  __shared__ float codes[16], map[256];
  load_tables(codes, map, nf4, dynamic);
  for (uint32_t begin = blockIdx.x * kGroupsAtOnce + threadIdx.x; begin < groups;
       begin += gridDim.x * kGroupsAtOnce) {
    uint32_t words[kAhead];
    float absmax[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const uint32_t group = begin + i * kThreads;
      if (group >= groups) continue;
      const int64_t value = first + int64_t{group} * 8;
      words[i] = *reinterpret_cast<const uint32_t*>(packed + value / 2);
      absmax[i] = block_absmax(scales, value / kNf4Block, map);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const uint32_t group = begin + i * kThreads;
      if (group >= groups) continue;
      Float8 x;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const uint32_t code = words[i] >> (j / 2 * 8 + (j % 2 == 0 ? 4 : 0)) & 15u;
        x.v[j] = codes[code] * absmax[i];
      }
      const uint32_t row = group / groups_per_row, column = group - row * groups_per_row;
      store8(dst + int64_t{row} * ld + int64_t{column} * 8, x);
    }
  }
}

// Any shape, value by value.
__global__ void __launch_bounds__(kThreads)
    dequantize_values_kernel(act_t* dst, int64_t ld, const uint8_t* packed, Scales scales,
                             int64_t first, int64_t in, int64_t count,
                             const __grid_constant__ Nf4Codes nf4,
                             const __grid_constant__ DynamicMap dynamic) {
  __shared__ float codes[16], map[256];
  load_tables(codes, map, nf4, dynamic);
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    const int64_t value = first + i;
    const uint32_t code = packed[value / 2] >> (value % 2 == 0 ? 4 : 0) & 15u;
    dst[i / in * ld + i % in] =
        from_float<act_t>(codes[code] * block_absmax(scales, value / kNf4Block, map));
  }
}

void dequantize_groups(act_t* dst, int64_t ld, const ops::Weight& w, const Scales& scales,
                       int64_t row_begin, int64_t rows, CudaDevice& device) {
  const int64_t per_row = w.in / 8;
  const int64_t rows_at_once = std::max<int64_t>(1, kMostGroups / per_row);
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const int64_t groups = std::min(rows_at_once, rows - row) * per_row;
    const unsigned grid = static_cast<unsigned>(
        std::min<int64_t>(ceil_div(groups, kGroupsAtOnce), kBlocksPerSm * device.sm_count()));
    dequantize_groups_kernel<<<grid, kThreads, 0, device.stream()>>>(
        dst + row * ld, ld, w.packed, scales, (row_begin + row) * w.in,
        static_cast<uint32_t>(per_row), static_cast<uint32_t>(groups), nf4_codes(), dynamic_map());
    check_launch("dequantize");
  }
}

}  // namespace
}  // namespace cuda

void ops::dequantize(act_t* dst, int64_t ld, const Weight& w, int64_t row_begin, int64_t rows,
                     Device& d) {
  if (rows <= 0 || w.in <= 0) return;
  cuda::CudaDevice& device = cuda::cuda_device(d);
  if (w.plain != nullptr) {
    cuda::check(cudaMemcpy2DAsync(dst, size_t(ld) * sizeof(act_t), w.plain + row_begin * w.ld,
                                  size_t(w.ld) * sizeof(act_t), size_t(w.in) * sizeof(act_t),
                                  size_t(rows), cudaMemcpyDeviceToDevice, device.stream()),
                "copying a weight");
    return;
  }
  const cuda::Scales scales = {w.absmax, w.absmax_codes, w.absmax2, w.absmax_offset};
  if (w.in % 8 == 0 && cuda::rows_aligned(dst, ld) &&
      reinterpret_cast<uintptr_t>(w.packed) % 4 == 0) {
    cuda::dequantize_groups(dst, ld, w, scales, row_begin, rows, device);
    return;
  }
  const int64_t count = rows * w.in;
  cuda::dequantize_values_kernel<<<cuda::blocks_for(count), cuda::kThreads, 0, device.stream()>>>(
      dst, ld, w.packed, scales, row_begin * w.in, w.in, count, cuda::nf4_codes(),
      cuda::dynamic_map());
  cuda::check_launch("dequantize");
}

}  // namespace qlora
