// dequantize: w[i] = code(i) · absmax(i / 64), i the flat index; with double quantisation
// absmax = map[code2] · absmax2[i / 64 / 256] + offset, undone in the same kernel.
//
// Bound by memory: .516 bytes read and 2 written a value, so every instruction a value counts too.
// A warp turns kSteps · 256 values of a row at a time: its lanes fetch the absmax of one block of
// 64 each and pass it round; a lane reads 4 packed bytes a step and writes 16. Both tables lie in
// shared memory (the sixteen codes in sixteen banks, where no two lanes conflict), filled once by
// blocks that stay and walk over the weight.
#include <algorithm>

#include "common.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kSteps = 4;
constexpr int kStepValues = kWarp * 8;
constexpr int kChunk = kSteps * kStepValues;  // values a warp has in flight
constexpr int kWarps = kThreads / kWarp;
constexpr int kBlocksPerSm = 6;
constexpr int64_t kMostChunks = int64_t{1} << 30;  // a launch: chunk indices fit 32 bits
static_assert(kChunk / kNf4Block + 1 <= kWarp, "a lane fetches the absmax of one block");

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

// Groups of eight values: in, columns and `first` (the flat index of dst's first value) are
// multiples of 8, packed is 4-byte and dst's rows are 16-byte aligned.
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    dequantize_groups_kernel(act_t* dst, int64_t ld, const uint8_t* packed, Scales scales,
                             int64_t first, int64_t in, uint32_t columns, uint32_t chunks_per_row,
                             uint32_t chunks, const __grid_constant__ Nf4Codes nf4,
                             const __grid_constant__ DynamicMap dynamic) {
  __shared__ float codes[16], map[256];
  load_tables(codes, map, nf4, dynamic);
  const uint32_t lane = threadIdx.x % kWarp;
  for (uint32_t chunk = blockIdx.x * kWarps + threadIdx.x / kWarp; chunk < chunks;
       chunk += gridDim.x * kWarps) {
    const uint32_t row = chunk / chunks_per_row, begin = (chunk - row * chunks_per_row) * kChunk;
    const uint32_t count = min(columns - begin, static_cast<uint32_t>(kChunk));
    const int64_t value = first + row * in + begin;
    const uint32_t* const words = reinterpret_cast<const uint32_t*>(packed + value / 2) + lane;
    uint32_t word[kSteps];
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      if (i * kStepValues + lane * 8 < count) word[i] = words[i * kWarp];
    }
    // A chunk may begin inside a block: kSteps · 4 + 1 blocks at most.
    const uint32_t skipped = static_cast<uint32_t>(value % kNf4Block);
    float own = 0.0f;
    if (lane * kNf4Block < skipped + count)
      own = block_absmax(scales, value / kNf4Block + lane, map);
    act_t* const out = dst + int64_t{row} * ld + begin + lane * 8;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const float absmax =
          __shfl_sync(kAllLanes, own, (skipped + i * kStepValues + lane * 8) / kNf4Block);
      if (i * kStepValues + lane * 8 >= count) continue;
      Float8 x;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        x.v[j] = codes[word[i] >> (j / 2 * 8 + (j % 2 == 0 ? 4 : 0)) & 15u] * absmax;
      }
      store8(out + i * kStepValues, x);
    }
  }
}

// Any shape, value by value.
__global__ void __launch_bounds__(kThreads)
    dequantize_values_kernel(act_t* dst, int64_t ld, const uint8_t* packed, Scales scales,
                             int64_t first, int64_t in, int64_t columns, int64_t count,
                             const __grid_constant__ Nf4Codes nf4,
                             const __grid_constant__ DynamicMap dynamic) {
  __shared__ float codes[16], map[256];
  load_tables(codes, map, nf4, dynamic);
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    const int64_t row = i / columns, column = i - row * columns;
    const int64_t value = first + row * in + column;
    const uint32_t code = packed[value / 2] >> (value % 2 == 0 ? 4 : 0) & 15u;
    dst[row * ld + column] =
        from_float<act_t>(codes[code] * block_absmax(scales, value / kNf4Block, map));
  }
}

void dequantize_groups(act_t* dst, int64_t ld, const ops::Weight& w, const Scales& scales,
                       int64_t first, int64_t rows, int64_t columns, CudaDevice& device) {
  const int64_t per_row = ceil_div(columns, kChunk);
  const int64_t rows_at_once = std::max<int64_t>(1, kMostChunks / per_row);
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const int64_t chunks = std::min(rows_at_once, rows - row) * per_row;
    const unsigned grid = static_cast<unsigned>(
        std::min<int64_t>(ceil_div(chunks, kWarps), kBlocksPerSm * device.sm_count()));
    dequantize_groups_kernel<<<grid, kThreads, 0, device.stream()>>>(
        dst + row * ld, ld, w.packed, scales, first + row * w.in, w.in,
        static_cast<uint32_t>(columns), static_cast<uint32_t>(per_row),
        static_cast<uint32_t>(chunks), nf4_codes(), dynamic_map());
    check_launch("dequantize");
  }
}

}  // namespace
}  // namespace cuda

void ops::dequantize(act_t* dst, int64_t ld, const Weight& w, int64_t row_begin, int64_t rows,
                     int64_t column_begin, int64_t columns, Device& d) {
  if (rows <= 0 || columns <= 0) return;
  cuda::CudaDevice& device = cuda::cuda_device(d);
  if (w.plain != nullptr) {
    // The source may lie in host memory.
    cuda::check(cudaMemcpy2DAsync(dst, size_t(ld) * sizeof(act_t),
                                  w.plain + row_begin * w.ld + column_begin,
                                  size_t(w.ld) * sizeof(act_t), size_t(columns) * sizeof(act_t),
                                  size_t(rows), cudaMemcpyDefault, device.stream()),
                "copying a weight");
    return;
  }
  const cuda::Scales scales = {w.absmax, w.absmax_codes, w.absmax2, w.absmax_offset};
  const int64_t first = row_begin * w.in + column_begin;
  if (w.in % 8 == 0 && first % 8 == 0 && columns % 8 == 0 && columns < int64_t{1} << 31 &&
      cuda::rows_aligned(dst, ld) && reinterpret_cast<uintptr_t>(w.packed) % 4 == 0) {
    cuda::dequantize_groups(dst, ld, w, scales, first, rows, columns, device);
    return;
  }
  const int64_t count = rows * columns;
  cuda::dequantize_values_kernel<<<cuda::blocks_for(count), cuda::kThreads, 0, device.stream()>>>(
      dst, ld, w.packed, scales, first, w.in, columns, count, cuda::nf4_codes(),
      cuda::dynamic_map());
  cuda::check_launch("dequantize");
}

}  // namespace qlora
