// project: U = x · Aᵀ for few rows of x and few rows of A, LoRA's first product.
//
// A block takes 16 rows of A, 8 rows of x and one of `splits` runs of `in`, its warps a part of it
// each; the last block of a tile adds the runs in their order.
#include <algorithm>

#include "common.cuh"
#include "decode_signal.cuh"
#include "last_block.cuh"
#include "mma.cuh"
#include "nf4_decode.h"

namespace qlora {
namespace cuda {
namespace {

constexpr int kProjectWarps = 8, kProjectBlock = kProjectWarps * kWarp;
constexpr int kProjectSplits = 8;
constexpr int kProjectTile = 16 * 8;

// Columns [k, k + 8) of a row, zeros when the row is not there.
__device__ inline uint4 read8(const act_t* row, int k, bool valid) {
  return valid ? __ldg(reinterpret_cast<const uint4*>(row + k)) : make_uint4(0, 0, 0, 0);
}

__global__ void __launch_bounds__(kProjectBlock)
    project_kernel(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, int m, const act_t* a, int R,
                   int in, float* partial, unsigned* tickets, DecodeSignal* signal) {
  __shared__ float scratch[kProjectWarps][kProjectTile];
  let_next_begin();
  await_previous();
  if (signal != nullptr && blockIdx.x + blockIdx.y + blockIdx.z + threadIdx.x == 0) {
    announce_x(signal);
  }
  constexpr int kStep = 32,
                kProjectAhead = 4;  // columns a quad of lanes takes; steps loaded together
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarp;
  const int first_r = blockIdx.x * 16, first_n = blockIdx.y * 8, splits = gridDim.z;
  const int runs = splits * kProjectWarps, run = blockIdx.z * kProjectWarps + warp;
  const int steps = in / kStep;
  const int begin = static_cast<int>(int64_t{steps} * run / runs);
  const int end = static_cast<int>(int64_t{steps} * (run + 1) / runs);
  const act_t* const x_row = x + (first_n + g) * ldx + t * 8;
  const act_t* const a_row = a + int64_t{first_r + g} * in + t * 8;
  float sums[4] = {};
  for (int step = begin; step < end; step += kProjectAhead) {
    uint4 top[kProjectAhead], low[kProjectAhead], b[kProjectAhead];
#pragma unroll
    for (int i = 0; i < kProjectAhead; ++i) {
      const int k = (step + i) * kStep;
      const bool valid = step + i < end;
      top[i] = read8(a_row, k, valid && first_r + g < R);
      low[i] = read8(a_row + int64_t{8} * in, k, valid && first_r + g + 8 < R);
      b[i] = read8(x_row, k, valid && first_n + g < m);
    }
#pragma unroll
    for (int i = 0; i < kProjectAhead; ++i) {
      const uint32_t first[4] = {top[i].x, low[i].x, top[i].y, low[i].y};
      const uint32_t second[4] = {top[i].z, low[i].z, top[i].w, low[i].w};
      mma(sums, first, b[i].x, b[i].y);
      mma(sums, second, b[i].z, b[i].w);
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) scratch[warp][(2 * t + j % 2) * 16 + g + j / 2 * 8] = sums[j];
  __syncthreads();
  const int tile = blockIdx.y * gridDim.x + blockIdx.x;
  float* const own = partial + (int64_t{tile} * splits + blockIdx.z) * kProjectTile;
  if (threadIdx.x < kProjectTile) {
    float sum = scratch[0][threadIdx.x];
#pragma unroll
    for (int i = 1; i < kProjectWarps; ++i) sum += scratch[i][threadIdx.x];
    own[threadIdx.x] = sum;
  }
  if (!is_last_block(tickets + tile, gridDim.z)) return;
  if (threadIdx.x >= kProjectTile) return;
  const float* const all = partial + int64_t{tile} * splits * kProjectTile + threadIdx.x;
  float sum = 0.0f;
  for (int s = 0; s < splits; ++s) sum += __ldcg(all + s * kProjectTile);
  const int n = first_n + threadIdx.x / 16, r = first_r + threadIdx.x % 16;
  if (n < m && r < R) u[n * ldu + r] = from_float<act_t>(sum);
}

}  // namespace

void project(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, int64_t m, const act_t* a,
             int64_t R, int64_t in, DecodeSignal* signal, CudaDevice& device) {
  const int splits =
      static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(kProjectSplits, in / 512)));
  const dim3 grid(static_cast<unsigned>(ceil_div(R, 16)), static_cast<unsigned>(ceil_div(m, 8)),
                  static_cast<unsigned>(splits));
  const int tiles = static_cast<int>(grid.x * grid.y);
  float* const partial =
      static_cast<float*>(device.scratch(size_t(tiles) * splits * kProjectTile * sizeof(float)));
  launch_early(project_kernel, grid, kProjectBlock, 0, device, u, ldu, x, ldx, static_cast<int>(m),
               a, static_cast<int>(R), static_cast<int>(in), partial, device.tickets(tiles),
               signal);
  check_launch("linear_decode, few columns");
}

}  // namespace cuda
}  // namespace qlora
