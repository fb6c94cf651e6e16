// Products of more rows of x with NF4 weights than the narrow kernel takes, for a whole group in
// one launch:
//   y_p = x · W_pᵀ + U_p · sB_pᵀ for every part p
//
// A block takes 128 rows of w and up to 64 of x, which its warps share through shared memory; `in`
// is split over blocks where the rows alone would not fill the GPU. The last block to finish adds
// the parts in their order. The products are mma.m16n8k16 with w as a and x as b. On Hopper
// nf4_decode_hopper.cu takes its place.
#include <algorithm>

#include "common.cuh"
#include "last_block.cuh"
#include "mma.cuh"
#include "nf4_decode.h"
#include "nf4_lookup.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kMostRows = 64;  // of x, a launch

constexpr int kWideWarps = 8, kWideBlock = kWideWarps * kWarp;
constexpr int kRowWarps = 4;   // side by side over the rows of w, two deep over a run's blocks
constexpr int kWarpRows = 32;  // of w
constexpr int kWideRows = kRowWarps * kWarpRows;
constexpr int kMostSplits = 8;  // of `in`

template <int kColumnTiles>
constexpr int kStages = kColumnTiles >= 8   ? 2
                        : kColumnTiles >= 4 ? 3
                                            : 4;
template <int kColumnTiles>
constexpr int kStageValues = kColumnTiles * 8 * kRun;
template <int kColumnTiles>
constexpr int kWideBytes =
    kTableRoom + kStages<kColumnTiles> * kStageValues<kColumnTiles> * int{sizeof(act_t)};

// Bytes [8t, 8t + 8) of one block of 64 of rows g, g + 8, g + 16, g + 24, and the absmax of row
// g + 8t.
struct WidePiece {
  uint2 packed[4];
  uint32_t code;
  float value;
};

template <bool kNested>
__device__ inline void load_piece(WidePiece& piece, const PackedPart& w, int first_row, int block,
                                  int blocks, bool valid) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  piece.code = 0;
  piece.value = 0.0f;
  const int at = (first_row + g) * blocks + block;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    piece.packed[i] = make_uint2(0, 0);
    if (!valid || first_row + g + i * 8 >= w.out) continue;
    piece.packed[i] = stream8(w.packed + int64_t{at + i * 8 * blocks} * (kBlockValues / 2) + t * 8);
  }
  if (valid && first_row + g + t * 8 < w.out) {
    load_absmax<kNested>(piece.code, piece.value, w, at + t * 8 * blocks);
  }
}

// A stage holds, for each block of 64 columns, its rows of x as eight chunks of 16 bytes; odd rows'
// pairs of chunks are exchanged, so that two rows' even chunks lie in different banks.
__device__ inline int stage_chunk(int row, int chunk) {
  return row * kBlockValues + ((chunk ^ (row & 1)) << 3);
}

template <int kColumnTiles>
__device__ inline void load_stage(act_t* stage, const act_t* x, int64_t ldx, int m, int run,
                                  int end, int in) {
  constexpr int kRowsOfX = kColumnTiles * 8, kChunks = kBlockValues / 8;
  for (int i = threadIdx.x; run < end && i < 2 * kRowsOfX * kChunks; i += kWideBlock) {
    const int chunk = i % kChunks, n = i / kChunks % kRowsOfX, half = i / kChunks / kRowsOfX;
    const int column = run * kRun + half * kBlockValues + chunk * 8;
    const bool valid = n < m && column < in;
    copy16_async(stage + half * kRowsOfX * kBlockValues + stage_chunk(n, chunk),
                 x + (valid ? n * ldx + column : 0), valid);
  }
  copies_commit();
}

// Columns r, r + 1 of a row of `count`, zeros behind it.
__device__ inline uint32_t read_pair(const act_t* row, int r, int count) {
  return pack_bf16(r < count ? to_float(row[r]) : 0.0f,
                   r + 1 < count ? to_float(row[r + 1]) : 0.0f);
}

// A unit's sums, scratch [rows of x, kWideRows] in shared memory, as y, or as a split's part of it:
// the last block of the unit adds the parts in their order. All threads call it, behind a barrier.
// partial [units, splits, m · kWideRows]; not used by one split.
template <class Y>
__device__ inline void finish_unit(Y* y, int64_t ldy, float* partial, unsigned* tickets,
                                   const float* scratch, const PackedPart& part, int unit_row,
                                   int m, float beta) {
  const int unit = blockIdx.x, split = blockIdx.y, splits = gridDim.y;
  const auto store = [&](int n, int i, float sum) {
    if (unit_row + i >= part.out) return;
    Y* const to = y + n * ldy + part.first + unit_row + i;
    *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
  };
  if (splits == 1) {
    for (int i = threadIdx.x; i < m * kWideRows; i += kWideBlock) {
      store(i / kWideRows, i % kWideRows, scratch[i]);
    }
    return;
  }
  // A block's sums are contiguous: partial [units, splits, m · kWideRows].
  const int count4 = m * kWideRows / 4;
  float4* const sums4 =
      reinterpret_cast<float4*>(partial) + (int64_t{unit} * splits + split) * count4;
  for (int i = threadIdx.x; i < count4; i += kWideBlock) {
    sums4[i] = reinterpret_cast<const float4*>(scratch)[i];
  }
  if (!is_last_block(tickets + unit, static_cast<unsigned>(splits))) return;
  const float4* const all4 =
      reinterpret_cast<const float4*>(partial) + int64_t{unit} * splits * count4;
  for (int i = threadIdx.x; i < count4; i += kWideBlock) {
    float4 part4[kMostSplits];
#pragma unroll
    for (int s = 0; s < kMostSplits; ++s) {
      if (s < splits) part4[s] = __ldcg(all4 + int64_t{s} * count4 + i);
    }
    float4 sum = part4[0];
#pragma unroll
    for (int s = 1; s < kMostSplits; ++s) {
      if (s >= splits) break;
      sum.x += part4[s].x;
      sum.y += part4[s].y;
      sum.z += part4[s].z;
      sum.w += part4[s].w;
    }
    const int n = i / (kWideRows / 4), row = i % (kWideRows / 4) * 4;
    store(n, row, sum.x);
    store(n, row + 1, sum.y);
    store(n, row + 2, sum.z);
    store(n, row + 3, sum.w);
  }
}

template <int kColumnTiles, bool kNested, class Y>
__global__ void __launch_bounds__(kWideBlock, kColumnTiles <= 4 ? 2 : 1)
    wide_kernel(Y* y, int64_t ldy, float* partial, unsigned* tickets, const act_t* x, int64_t ldx,
                int m, PackedGroup w, float beta, DynamicMap dynamic) {
  extern __shared__ __align__(256) uint8_t shared[];
  let_next_begin();
  constexpr int kDepth = kStages<kColumnTiles>, kRowsOfX = kColumnTiles * 8;
  uint8_t* const table = table_of(shared);
  act_t* const stages = reinterpret_cast<act_t*>(table + kTableBytes);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp = threadIdx.x / kWarp, row_warp = warp % kRowWarps, half = warp / kRowWarps;
  const int unit = blockIdx.x, split = blockIdx.y, splits = gridDim.y;
  const PackedPart& part = w.part[part_of(w, unit)];
  const int unit_row = (unit - part.first_unit) * kWideRows;
  const int first_row = unit_row + row_warp * kWarpRows;
  const int blocks = w.blocks, runs = (blocks + 1) / 2;
  const int begin = runs * split / splits, end = runs * (split + 1) / splits;

  constexpr int kWideAhead = 2;
  WidePiece pieces[kWideAhead];
  const auto load = [&](WidePiece& piece, int run) {
    const int block = 2 * run + half;
    load_piece<kNested>(piece, part, first_row, block, blocks, run < end && block < blocks);
  };
#pragma unroll
  for (int i = 0; i < kWideAhead; ++i) load(pieces[i], begin + i);
  static_assert(kStageValues<kColumnTiles> * int{sizeof(act_t)} >= kStagingBytes, "the last stage");
  fill_table(table, reinterpret_cast<uint2*>(stages + (kDepth - 1) * kStageValues<kColumnTiles>),
             dynamic);
  await_previous();
#pragma unroll
  for (int i = 0; i < kDepth - 1; ++i) {
    load_stage<kColumnTiles>(stages + i * kStageValues<kColumnTiles>, x, ldx, m, begin + i, end,
                             w.in);
  }

  const uint32_t lane_at = lane_address(table);
  float sums[2][kColumnTiles][4] = {};
  int stage = 0;
#pragma unroll 1
  for (int first = begin; first < end; first += kWideAhead) {
#pragma unroll
    for (int i = 0; i < kWideAhead; ++i) {
      const int run = first + i;
      if (run >= end) break;
      copies_wait<kDepth - 2>();
      __syncthreads();  // the stage is there, and the one before is free
      {
        const int next = stage == 0 ? kDepth - 1 : stage - 1;
        load_stage<kColumnTiles>(stages + next * kStageValues<kColumnTiles>, x, ldx, m,
                                 run + kDepth - 1, end, w.in);
      }
      const WidePiece& piece = pieces[i];
      const float own = absmax_of<kNested>(piece.code, piece.value, part.offset, lane_at);
      float scale[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) scale[r] = __shfl_sync(kAllLanes, own, (lane & ~3) | r);

      const act_t* const x_block =
          stages + stage * kStageValues<kColumnTiles> + half * kRowsOfX * kBlockValues;
      // Half a block of 64 at a time, to save registers.
#pragma unroll
      for (int part_of_block = 0; part_of_block < 2; ++part_of_block) {
        uint32_t a[2][2][4];  // of two products
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const uint32_t bytes = part_of_block == 0 ? piece.packed[r].x : piece.packed[r].y;
          uint32_t (&to)[2][4] = a[r / 2];
          to[0][r % 2] = look_up<0>(bytes, lane_at);
          to[0][r % 2 + 2] = look_up<1>(bytes, lane_at);
          to[1][r % 2] = look_up<2>(bytes, lane_at);
          to[1][r % 2 + 2] = look_up<3>(bytes, lane_at);
        }
        if (part_of_block == 1) load(pieces[i], run + kWideAhead);  // the piece is used up
        // Several products at a time, which do not wait for one another.
        constexpr int kTogether = kColumnTiles >= 8 ? 2 : 1;
#pragma unroll
        for (int c = 0; c < kColumnTiles; c += kTogether) {
          uint4 b[kTogether];
          float product[kTogether][2][4] = {};
#pragma unroll
          for (int i = 0; i < kTogether; ++i) {
            b[i] = *reinterpret_cast<const uint4*>(
                x_block + stage_chunk((c + i) * 8 + g, 2 * t + part_of_block));
          }
#pragma unroll
          for (int i = 0; i < 2 * kTogether; ++i) {
            mma(product[i / 2][i % 2], a[i % 2][0], b[i / 2].x, b[i / 2].y);
          }
#pragma unroll
          for (int i = 0; i < 2 * kTogether; ++i) {
            mma(product[i / 2][i % 2], a[i % 2][1], b[i / 2].z, b[i / 2].w);
          }
#pragma unroll
          for (int i = 0; i < 8 * kTogether; ++i) {
            const int r = i / 4 % 2, j = i % 4;
            float& sum = sums[r][c + i / 8][j];
            sum = fmaf(product[i / 8][r][j], scale[2 * r + j / 2], sum);
          }
        }
      }
      stage = stage + 1 == kDepth ? 0 : stage + 1;
    }
  }

  // LoRA: sB is the next 16 columns of w, U of x, once.
  if (split == 0 && half == 0) {
    for (int k = 0; k < part.rank; k += 16) {
      uint32_t a[2][4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int row = first_row + r * 8 + g;
        const act_t* const b = part.b + int64_t{row} * part.rank;
        const int count = row < part.out ? part.rank : 0;
        a[r / 2][r % 2] = read_pair(b, k + 2 * t, count);
        a[r / 2][r % 2 + 2] = read_pair(b, k + 2 * t + 8, count);
      }
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const int n = c * 8 + g;
        const act_t* const u = x + n * ldx + w.in + part.rank_offset;
        const int count = n < m ? part.rank : 0;
        const uint32_t b0 = read_pair(u, k + 2 * t, count), b1 = read_pair(u, k + 2 * t + 8, count);
#pragma unroll
        for (int r = 0; r < 2; ++r) mma(sums[r][c], a[r], b0, b1);
      }
    }
  }

  // Both halves, [rows of x, kWideRows].
  copies_wait<0>();
  __syncthreads();
  float* const scratch = reinterpret_cast<float*>(stages);
  static_assert(
      kRowsOfX * kWideRows * sizeof(float) <= kDepth * kStageValues<kColumnTiles> * sizeof(act_t),
      "the sums fit where x was");
#pragma unroll
  for (int turn = 1; turn >= 0; --turn) {
    if (half == turn) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            float* const to = scratch + (c * 8 + 2 * t + j % 2) * kWideRows + row_warp * kWarpRows +
                              r * 16 + g + j / 2 * 8;
            *to = turn == 1 ? sums[r][c][j] : sums[r][c][j] + *to;
          }
        }
      }
    }
    __syncthreads();
  }
  finish_unit(y, ldy, partial, tickets, scratch, part, unit_row, m, beta);
}

// ---- launches -----------------------------------------------------------------------------------

// Into how many runs `in` is split: so that the blocks, a whole number of times over the
// multiprocessors, have least to do; what a block does besides is worth about three steps.
int splits_for(int units, int runs, int multiprocessors) {
  constexpr int kBesides = 3;
  int best = 1;
  int64_t least = INT64_MAX;
  for (int splits = 1; splits <= std::min(kMostSplits, runs); ++splits) {
    const int64_t cost =
        ceil_div(int64_t{units} * splits, multiprocessors) * (ceil_div(runs, splits) + kBesides);
    if (cost < least) {
      least = cost;
      best = splits;
    }
  }
  return best;
}

template <class Y>
using WideKernel = void (*)(Y*, int64_t, float*, unsigned*, const act_t*, int64_t, int, PackedGroup,
                            float, DynamicMap);

// together: blocks that share a multiprocessor.
template <class Y>
void launch_wide(WideKernel<Y> kernel, int bytes, int together, Y* y, int64_t ldy, const act_t* x,
                 int64_t ldx, int m, const ops::DecodeGroup& group, float beta,
                 CudaDevice& device) {
  const PackedGroup w = packed_group(group, kWideRows);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "linear_group_decode: shared memory");
  const int runs = static_cast<int>(ceil_div(w.in, kRun));
  const int splits = splits_for(w.units, runs, together * device.sm_count());
  const size_t sums = splits > 1 ? size_t(w.units) * splits * m * kWideRows : 0;
  float* const partial = static_cast<float*>(device.scratch(sums * sizeof(float)));
  unsigned* const tickets = device.tickets(splits > 1 ? w.units : 0);
  const dim3 grid(static_cast<unsigned>(w.units), static_cast<unsigned>(splits));
  launch_early(kernel, grid, kWideBlock, bytes, device, y, ldy, partial, tickets, x, ldx, m, w,
               beta, dynamic_map());
  check_launch("linear_group_decode, many rows");
}

template <bool kNested, class Y>
void launch(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, const ops::DecodeGroup& group,
            float beta, CudaDevice& device) {
  if (m <= 8) {
    launch_wide(wide_kernel<1, kNested, Y>, kWideBytes<1>, 1, y, ldy, x, ldx, m, group, beta,
                device);
  } else if (m <= 16) {
    launch_wide(wide_kernel<2, kNested, Y>, kWideBytes<2>, 1, y, ldy, x, ldx, m, group, beta,
                device);
  } else if (m <= 32) {
    launch_wide(wide_kernel<4, kNested, Y>, kWideBytes<4>, 1, y, ldy, x, ldx, m, group, beta,
                device);
  } else {
    launch_wide(wide_kernel<8, kNested, Y>, kWideBytes<8>, 1, y, ldy, x, ldx, m, group, beta,
                device);
  }
}

// Rows beyond kMostRows in further launches.
template <class Y>
void product(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
             const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  const bool nested = group.parts[0].w.absmax == nullptr;
  const auto wide = nested ? launch<true, Y> : launch<false, Y>;
  for (int64_t first = 0; first < m; first += kMostRows) {
    const int rows = static_cast<int>(std::min<int64_t>(m - first, kMostRows));
    wide(y + first * ldy, ldy, x + first * ldx, ldx, rows, group, beta, device);
  }
}

}  // namespace

void nf4_wide_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                      const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, beta, device);
}

void nf4_wide_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                      const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, beta, device);
}

}  // namespace cuda
}  // namespace qlora
