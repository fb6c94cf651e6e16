// linear_decode: y [m, out] = x [m, in] · wᵀ + beta · y for few rows. Nothing but the weight is
// large, so the floor is its bytes over the memory bandwidth.
//
// NF4 weights go through nf4_product (linear_group_decode.cu), plain ones of few columns of y through
// project (project.cu). Other plain ones, up to kMostRows rows of x: a block owns 16 rows of w
// (columns of y) and its eight warps an eighth of `in` each, added in a fixed tree at the end. The
// product is mma.m16n8k16 with w as a and the rows of x as b; the order of k inside a product is
// free, so a lane takes neighbouring k and loads them in one access. More rows are a product for
// cuBLASLt. Rows that are not aligned, or blocks that cross rows: a warp a row of w, in fp32.
#include <type_traits>

#include "common.cuh"
#include "mma.cuh"
#include "nf4.cuh"
#include "nf4_decode.h"

namespace qlora {
namespace cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kBlock = kWarps * kWarp;
constexpr int kTile = 16;     // rows of w
constexpr int kMostRows = 8;  // of x

// ---- plain --------------------------------------------------------------------------------------

// Eight values from column k on, of a row that begins on 16 bytes; zeros from `in` on.
__device__ inline uint4 load_eight(const act_t* row, int64_t k, int64_t in) {
  if (k + 8 <= in) return __ldg(reinterpret_cast<const uint4*>(row + k));
  if (k >= in) return make_uint4(0, 0, 0, 0);
  return pack8(load_first8(row + k, in - k));
}

template <class Y>
__global__ void __launch_bounds__(kBlock)
    plain_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, ops::Weight w, float beta) {
  let_next_begin();
  await_previous();
  constexpr int kStep = 32;  // k a lane quad takes in one access each
  constexpr int kAhead = 4;  // steps loaded together
  __shared__ float scratch[kWarps][kMostRows][kTile];
  const int64_t first_out = int64_t{blockIdx.x} * kTile;
  const int64_t steps = ceil_div(w.in, kStep);
  const int warp = threadIdx.x / kWarp, g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const int64_t begin = steps * warp / kWarps, end = steps * (warp + 1) / kWarps;
  float sums[4] = {};
  for (int64_t step = begin; step < end; step += kAhead) {
    uint4 a[kAhead][2];
#pragma unroll
    for (int s = 0; s < kAhead; ++s) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t row = first_out + i * 8 + g;
        a[s][i] = row < w.out && step + s < end
                      ? load_eight(w.plain + row * w.ld, (step + s) * kStep + t * 8, w.in)
                      : make_uint4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int s = 0; s < kAhead; ++s) {
      if (step + s >= end) break;
      const uint4 b = g < m ? load_eight(x + g * ldx, (step + s) * kStep + t * 8, w.in)
                            : make_uint4(0, 0, 0, 0);
      const uint32_t first[4] = {a[s][0].x, a[s][1].x, a[s][0].y, a[s][1].y};
      const uint32_t second[4] = {a[s][0].z, a[s][1].z, a[s][0].w, a[s][1].w};
      mma(sums, first, b.x, b.y);
      mma(sums, second, b.z, b.w);
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) scratch[warp][2 * t + j % 2][g + j / 2 * 8] = sums[j];
  __syncthreads();
  const int n = threadIdx.x / kTile, i = threadIdx.x % kTile;
  if (n >= m || first_out + i >= w.out) return;
  float eighths[kWarps];
#pragma unroll
  for (int j = 0; j < kWarps; ++j) eighths[j] = scratch[j][n][i];
#pragma unroll
  for (int half = kWarps / 2; half > 0; half /= 2) {
#pragma unroll
    for (int j = 0; j < half; ++j) eighths[j] += eighths[j + half];
  }
  Y* const to = y + n * ldy + first_out + i;
  *to = from_float<Y>(beta == 0.0f ? eighths[0] : eighths[0] + beta * to_float(*to));
}

// ---- any alignment ------------------------------------------------------------------------------

// absmax of one block of the weight. map: the dynamic map, read only when double-quantised.
__device__ inline float block_absmax(const ops::Weight& w, int64_t block, const float* map) {
  if (w.absmax != nullptr) return w.absmax[block];
  const float scaled = __fmul_rn(map[w.absmax_codes[block]], w.absmax2[block / kAbsmaxBlock]);
  return __fadd_rn(scaled, w.absmax_offset);
}

__device__ inline float weight_at(const ops::Weight& w, int64_t row, int64_t k, const Nf4Codes& nf4,
                                  const float* map) {
  if (w.plain != nullptr) return to_float(w.plain[row * w.ld + k]);
  const int64_t i = row * w.in + k;
  const uint8_t byte = w.packed[i / 2];
  return nf4.value[i % 2 == 0 ? byte >> 4 : byte & 15] * block_absmax(w, i / kNf4Block, map);
}

// A warp a row of w, its lanes stride over k, eight rows of x at a time.
template <class Y>
__global__ void __launch_bounds__(kBlock)
    unaligned_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, ops::Weight w,
                     float beta, Nf4Codes nf4, DynamicMap dynamic) {
  constexpr int kTogether = 8;
  __shared__ float map[256];
  map[threadIdx.x] = dynamic.value[threadIdx.x];
  __syncthreads();
  const int64_t o = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (o >= w.out) return;
  for (int64_t first = 0; first < m; first += kTogether) {
    float sums[kTogether] = {};
    for (int64_t k = threadIdx.x % kWarp; k < w.in; k += kWarp) {
      const float value = weight_at(w, o, k, nf4, map);
#pragma unroll
      for (int n = 0; n < kTogether; ++n) {
        if (first + n < m) sums[n] = fmaf(value, to_float(x[(first + n) * ldx + k]), sums[n]);
      }
    }
#pragma unroll
    for (int n = 0; n < kTogether; ++n) {
      const float sum = warp_sum(sums[n]);
      if (first + n >= m || threadIdx.x % kWarp != 0) continue;
      Y* const to = y + (first + n) * ldy + o;
      *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
    }
  }
}

// ---- launches -----------------------------------------------------------------------------------

void many_rows(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, const ops::Weight& w,
               float beta, Device& d) {
  ops::gemm(y, ldy, x, ldx, false, w.plain, w.ld, true, m, w.out, w.in, 1.0f, beta, d);
}
void many_rows(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, const ops::Weight& w,
               float beta, Device& d) {
  ops::gemm_f32(y, ldy, x, ldx, false, w.plain, w.ld, true, m, w.out, w.in, 1.0f, beta, d);
}

// Few columns of y, as of LoRA's U, do not fill the GPU unless `in` is split.
template <class Y>
bool is_projection(const ops::Weight& w, float beta) {
  constexpr int64_t kMostColumns = 256;
  return std::is_same<Y, act_t>::value && beta == 0.0f && w.out <= kMostColumns && w.ld == w.in &&
         w.in % 32 == 0;
}

template <class Y>
void linear(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, const ops::Weight& w,
            float beta, Device& d) {
  CudaDevice& device = cuda_device(d);
  if (m == 0 || w.out == 0) return;
  if (nf4_tiled(w, x, ldx)) {
    nf4_product(y, ldy, x, ldx, m, w, beta, device);
  } else if (w.plain == nullptr || !rows_aligned(x, ldx) || !rows_aligned(w.plain, w.ld)) {
    unaligned_kernel<Y>
        <<<static_cast<unsigned>(ceil_div(w.out, kWarps)), kBlock, 0, device.stream()>>>(
            y, ldy, x, ldx, m, w, beta, nf4_codes(), dynamic_map());
    check_launch("linear_decode");
  } else if (is_projection<Y>(w, beta)) {
    if constexpr (std::is_same<Y, act_t>::value) {
      project(y, ldy, x, ldx, m, w.plain, w.out, w.in, nullptr, device);
    }
  } else if (m <= kMostRows) {
    launch_early(plain_kernel<Y>, static_cast<unsigned>(ceil_div(w.out, kTile)), kBlock, 0, device, y,
                 ldy, x, ldx, static_cast<int>(m), w, beta);
    check_launch("linear_decode");
  } else {
    many_rows(y, ldy, x, ldx, m, w, beta, d);
  }
}

}  // namespace
}  // namespace cuda

void ops::linear_decode(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const Weight& w, float beta, Device& d) {
  cuda::linear(y, ldy, x, ldx, m, w, beta, d);
}

void ops::linear_decode_f32(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                            const Weight& w, Device& d) {
  cuda::linear(y, ldy, x, ldx, m, w, 0.0f, d);
}

}  // namespace qlora
