// What the attention kernels share: which tokens a block works on, and tiles of rows in shared
// memory.
//
// A key head g serves ratio = Q / G query heads. They are taken together: "row" i of a segment is
// token i / ratio under head g·ratio + i % ratio, so that a tile of rows shares its keys.
// Segment 0 is the prefix, segment s > 0 is sequence s − 1. A sequence's keys are numbered through
// the prefix and then itself: a token sees the keys 0 … before + (its index in the segment).
#pragma once

#include "attention_path.h"
#include "common.cuh"
#include "mma.cuh"

namespace qlora {
namespace cuda {

constexpr float kLog2e = 1.4426950408889634f;

struct Tokens {
  int T, P, S, Q, G;
  int ratio;
  uint32_t reciprocal;  // ⌈2³² / ratio⌉, 0 for a ratio of 1
  const int32_t* cu_seqlens;

  __device__ int begin(int s) const { return s == 0 ? 0 : cu_seqlens[s - 1]; }
  __device__ int end(int s) const { return s == 0 ? P : cu_seqlens[s]; }
  __device__ int before(int s) const { return s == 0 ? 0 : P; }
  // row / ratio, exact below 2³² / ratio, and row % ratio.
  __device__ int token_of(int row) const {
    return reciprocal == 0 ? row : static_cast<int>(__umulhi(row, reciprocal));
  }
  __device__ int head_of(int row) const { return row - token_of(row) * ratio; }
};

inline Tokens tokens_of(const ops::AttentionShape& shape) {
  const int64_t ratio = shape.Q / shape.G;
  const int64_t reciprocal = ratio == 1 ? 0 : ceil_div(int64_t{1} << 32, ratio);
  return {static_cast<int>(shape.T),         static_cast<int>(shape.P), static_cast<int>(shape.S),
          static_cast<int>(shape.Q),         static_cast<int>(shape.G), static_cast<int>(ratio),
          static_cast<uint32_t>(reciprocal), shape.cu_seqlens};
}

// Tiles of tile_rows rows are numbered so that a segment is found without a table: segment s has
// the numbers from begin(s)·ratio / tile_rows + s up to those of segment s + 1, at least as many as
// it needs.
inline unsigned tile_numbers(const ops::AttentionShape& shape, int64_t ratio, int64_t tile_rows) {
  return static_cast<unsigned>(shape.T * ratio / tile_rows + shape.S + 1);
}

struct Tile {
  int segment;
  int64_t first;  // row of the segment; may lie behind its last
};

// All threads of the block call it.
__device__ inline Tile find_tile(const Tokens& x, int64_t number, int64_t ratio,
                                 int64_t tile_rows) {
  __shared__ int segment;
  for (int s = threadIdx.x; s <= x.S; s += blockDim.x) {
    const int64_t first = x.begin(s) * ratio / tile_rows + s;
    const int64_t next = x.end(s) * ratio / tile_rows + s + 1;
    if (number >= first && number < next) segment = s;
  }
  __syncthreads();
  const int s = segment;
  return {s, (number - (x.begin(s) * ratio / tile_rows + s)) * tile_rows};
}

// ---- tiles in shared memory: rows of D bf16, their 16-byte chunks permuted against conflicts ----

template <int D>
__device__ inline act_t* chunk_of(act_t* tile, int row, int chunk) {
  return tile + row * D + ((chunk ^ (row & 7)) << 3);
}
template <int D>
__device__ inline const act_t* chunk_of(const act_t* tile, int row, int chunk) {
  return tile + row * D + ((chunk ^ (row & 7)) << 3);
}

// Fragments out of a tile; column in units of 16, row the first of 16.
// a: [16 rows, 16 columns].
template <int D>
__device__ inline void fragment_a(uint32_t a[4], const act_t* tile, int row, int column) {
  const int lane = threadIdx.x % kWarp;
  load_matrices(a, chunk_of<D>(tile, row + lane % 16, 2 * column + lane / 16));
}
// b of two products whose sums run over the columns: tile rows [row, row + 8) are the first's
// columns, the next eight the second's. b[0], b[1] and b[2], b[3].
template <int D>
__device__ inline void fragments_b(uint32_t b[4], const act_t* tile, int row, int column) {
  const int lane = threadIdx.x % kWarp;
  load_matrices(b, chunk_of<D>(tile, row + lane / 16 * 8 + lane % 8, 2 * column + lane / 8 % 2));
}
// b of two products whose sums run over the tile's rows [row, row + 16): columns [16·column, + 8)
// and the next eight.
template <int D>
__device__ inline void fragments_b_transposed(uint32_t b[4], const act_t* tile, int row,
                                              int column) {
  const int lane = threadIdx.x % kWarp;
  load_matrices_transposed(b, chunk_of<D>(tile, row + lane % 16, 2 * column + lane / 16));
}

// Starts copying rows [first, first + kKeys) of a segment's keys, or of their values; zeros from
// row `count` on. from: qkv at the key head's column, or at its values'.
template <int D, int kKeys, int kThreads>
__device__ inline void load_keys(act_t* tile, const act_t* from, int64_t ld, int segment_begin,
                                 int before, int first, int count) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kKeys * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks, key = first + row;
    const bool valid = key < count;
    const int64_t token = key < before ? key : segment_begin + key - before;
    copy16_async(chunk_of<D>(tile, row, chunk), from + (valid ? token * ld + chunk * 8 : 0), valid);
  }
}

// Starts copying rows [first, first + kRows) of key head g of the segment that begins at token
// `begin`, from a matrix whose head 0 begins at column 0; zeros from row `end` on.
template <int D, int kRows, int kThreads>
__device__ inline void load_rows(act_t* tile, const act_t* from, int64_t ld, const Tokens& x,
                                 int64_t begin, int g, int64_t first, int64_t end) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const int at = static_cast<int>(first) + row;
    const bool valid = at < end;
    const int64_t token = begin + x.token_of(at), head = g * x.ratio + x.head_of(at);
    copy16_async(chunk_of<D>(tile, row, chunk),
                 from + (valid ? token * ld + head * D + chunk * 8 : 0), valid);
  }
}

// A warp's sums [16, D], times `scale` of their row (g and g + 8), rounded into 16 rows of a tile
// that no other warp uses.
template <int D>
__device__ inline void write_rows(act_t* tile, int row, const float (*sums)[4], float scale,
                                  float scale8) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    *reinterpret_cast<uint32_t*>(chunk_of<D>(tile, row + g, n) + 2 * t) =
        pack_bf16(sums[n][0] * scale, sums[n][1] * scale);
    *reinterpret_cast<uint32_t*>(chunk_of<D>(tile, row + g + 8, n) + 2 * t) =
        pack_bf16(sums[n][2] * scale8, sums[n][3] * scale8);
  }
  __syncwarp();
}

// The sums of two neighbouring tiles of eight columns as an a fragment.
__device__ inline void to_fragment_a(uint32_t a[4], const float left[4], const float right[4]) {
  a[0] = pack_bf16(left[0], left[1]);
  a[1] = pack_bf16(left[2], left[3]);
  a[2] = pack_bf16(right[0], right[1]);
  a[3] = pack_bf16(right[2], right[3]);
}

// Over the four lanes that share a row of c.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(kAllLanes, x, 1);
  return x + __shfl_xor_sync(kAllLanes, x, 2);
}

// ---- softmax of a tile of scores, 16 rows a warp ------------------------------------------------

// Of rows g and g + 8.
struct RowState {
  int limit[2];  // the last key seen
  float top[2], sum[2];
};

// Scores of keys a row does not see become −∞.
template <int kKeys>
__device__ inline void mask_scores(float (*s)[4], int first_key, const int limit[2]) {
  const int column = first_key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + n * 8 + i % 2 > limit[i / 2]) s[n][i] = -INFINITY;
    }
  }
}

// s becomes e^((s − top) / √D) with the new top; what was summed before shrinks by `shrink`.
template <int kKeys>
__device__ inline void running_softmax(float (*s)[4], float shrink[2], RowState& row,
                                       float scale_log2) {
  float shift[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = row.top[half];
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    }
    most = quad_max(most);
    shrink[half] = exp2_approx((row.top[half] - most) * scale_log2);
    row.top[half] = most;
    row.sum[half] *= shrink[half];
    shift[half] = most * scale_log2;
  }
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      s[n][i] = exp2_approx(fmaf(s[n][i], scale_log2, -shift[i / 2]));
      row.sum[i / 2] += s[n][i];
    }
  }
}

// Most tiles bring no new maximum; then the accumulators stay as they are.
template <int D>
__device__ inline void rescale(float (*o)[4], const float shrink[2]) {
  if (!__any_sync(kAllLanes, shrink[0] != 1.0f || shrink[1] != 1.0f)) return;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) o[n][i] *= shrink[i / 2];
  }
}

// ---- the plain kernels: a warp works on one row or key, its lanes stride over the head ----------

constexpr int kPlainD = 256;  // the largest head
constexpr int kPlainEach = kPlainD / kWarp;
constexpr int kPlainWarps = 4;

__device__ inline int segment_of(const Tokens& x, int64_t token) {
  int low = 0, high = x.S;  // the last segment that begins at or before the token and holds it
  while (low < high) {
    const int middle = (low + high) / 2;
    if (x.end(middle) > token) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

__device__ inline void load_head(float to[kPlainEach], const act_t* from, int D) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
    to[i] = lane + i * kWarp < D ? to_float(from[lane + i * kWarp]) : 0.0f;
  }
}
__device__ inline void store_head(act_t* to, const float from[kPlainEach], int D, float scale) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
    if (lane + i * kWarp < D) to[lane + i * kWarp] = from_float<act_t>(from[i] * scale);
  }
}
__device__ inline float dot_head(const float a[kPlainEach], const float b[kPlainEach]) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) sum += a[i] * b[i];
  return warp_sum(sum);
}

struct ForwardCall {
  act_t* out;
  int64_t ld_out;
  float* lse;  // may be null
  const act_t* qkv;
  int64_t ld;
  float scale;
};

// attention_forward_hopper.cu: for heads of 128, 16-byte aligned rows.
void launch_forward_hopper(const ForwardCall& f, const ops::AttentionShape& shape,
                           CudaDevice& device);

// The selected path; never `automatic`.
AttentionPath attention_path(const CudaDevice& device);

// Throws for heads that no kernel takes. True where the tensor-core kernels can read qkv.
bool check_head_dim(const ops::AttentionShape& shape);

}  // namespace cuda
}  // namespace qlora
