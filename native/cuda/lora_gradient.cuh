// Gradients of the LoRA matrices: sums over all tokens of narrow left times long right rows,
//   dA [R, in] = dUᵀ · drop(X)      dB_p [out_p, r_p] = (U_pᵀ · dY_p)ᵀ
// and, while X passes by, dX += drop'(dU · A).
//
// A block takes strips of 256 columns and stretches of tokens; each of its warps 32 columns, 16
// tokens at a time. The left rows, which all warps read, go through shared memory; their fragments
// are dU's and, transposed by ldmatrix, dUᵀ's. The right rows' fragments are pairs along a row
// where the product over tokens wants pairs along a column: movmatrix turns them in registers. A's
// fragments stay in registers. Sums over a block's tokens are written as partial sums, which a
// second kernel adds in order: same inputs, same bits.
//
// 2 bytes an element of right read, with dX 4 more read and written: bound by memory.
#pragma once

#include "lora.cuh"

namespace qlora {
namespace cuda {

constexpr int kStrip = 256;  // columns of a block
constexpr int kGradientWarps = kStrip / 32;
constexpr int kGradientBlock = kGradientWarps * kWarp;
constexpr int kGradientStages = 4;
constexpr int kMostParts = 3;  // linears of a group

// Columns of the right rows with their own ranks and their own result.
struct GradientPart {
  int column, columns;  // of the right rows
  int rank, ranks;      // of the left rows; ranks ≤ kMostRanks
  int strip;            // the first of its strips
  float* out;           // += scale · sum of (rank, column)
  int64_t rank_stride, column_stride;
};

struct Gradient {
  GradientPart parts[kMostParts];
  int num_parts;
  const act_t* left;  // [T, …]
  int64_t ld_left;
  const act_t* right;  // [T, …]
  int64_t ld_right;
  act_t* dx;  // [T, columns], and a: with kInput
  int64_t lddx;
  const act_t* a;  // [ranks, columns] contiguous
  float* partial;  // [blocks + strips, 16 · kTiles, kStrip]: of block b and strip s at b + s
  int T, strips;
  Split split;  // tiles: strips; steps: some tokens
  float scale;
  DropoutMask mask;
};

__device__ inline const GradientPart& part_of(const Gradient& x, int strip) {
  int p = 0;
  while (p + 1 < x.num_parts && strip >= x.parts[p + 1].strip) ++p;
  return x.parts[p];
}

// Left and right rows of some tokens; with dX fewer of them, as there are two matrices to stage.
template <int kTiles, bool kInput>
struct GradientStage {
  static constexpr int kTokens = kInput ? 16 : 32;
  static constexpr int kLeftLd = 16 * kTiles + 8;  // odd in units of 16 bytes: no bank conflicts
  uint4 right[kTokens / 8][kGradientBlock];
  uint4 dx[kInput ? kTokens / 8 : 1][kInput ? kGradientBlock : 1];
  act_t left[kTokens * kLeftLd];
  int32_t keys[kTokens], positions[kTokens];
};

__device__ inline uint32_t turned(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(result) : "r"(pair));
  return result;
}

// What a thread copies in every step: its own columns of every eighth token, and a chunk of the
// left rows that the block shares.
template <int kTiles, bool kInput>
struct GradientSource {
  using Stage = GradientStage<kTiles, kInput>;
  static constexpr int kTokens = Stage::kTokens;
  static constexpr int kChunks = 2 * kTiles;
  static_assert(kTokens * kChunks <= kGradientBlock, "one chunk a thread");
  const act_t *right, *dx, *left;
  int tokens, left_tokens;  // from this thread's first on
  int columns, ranks;       // from this thread's first on; 0: none

  __device__ GradientSource(const Gradient& x, const GradientPart& part, int begin, int end,
                            int column) {
    const int row = threadIdx.x % kWarp / 4;
    const int token = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
    right = x.right + int64_t{begin + row} * x.ld_right + part.column + column;
    if (kInput) dx = x.dx + int64_t{begin + row} * x.lddx + column;
    left = x.left + int64_t{begin + token} * x.ld_left + part.rank + 8 * chunk;
    tokens = end - begin - row;
    left_tokens = end - begin - token;
    columns = part.columns - column;
    ranks = part.ranks - 8 * chunk;
  }
  template <bool kAligned>
  __device__ void load(Stage& stage, const Gradient& x, int first, int end) {
#pragma unroll
    for (int i = 0; i < kTokens / 8; ++i) {
      const int inside = 8 * i < tokens ? columns : 0;
      stage8<kAligned>(&stage.right[i][threadIdx.x], right + i * (8 * x.ld_right), inside);
      if (kInput) stage8<kAligned>(&stage.dx[i][threadIdx.x], dx + i * (8 * x.lddx), inside);
    }
    if (threadIdx.x < kTokens * kChunks) {
      const int token = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
      stage8<kAligned>(reinterpret_cast<uint4*>(stage.left + token * Stage::kLeftLd + 8 * chunk),
                       left, left_tokens > 0 ? ranks : 0);
    }
    if (x.mask.active && threadIdx.x < kTokens) {
      const int t = first + threadIdx.x;
      copy4_async(&stage.keys[threadIdx.x], x.mask.keys + t, t < end);
      copy4_async(&stage.positions[threadIdx.x], x.mask.positions + t, t < end);
    }
    right += kTokens * x.ld_right;
    if (kInput) dx += kTokens * x.lddx;
    left += kTokens * x.ld_left;
    tokens -= kTokens;
    left_tokens -= kTokens;
  }
};

// A's fragments for dU · A: pair j of a lane's columns is tile j's (see lora.cuh), so of the eight
// columns it loads a lane takes every second.
template <int kTiles, bool kAligned>
__device__ inline void load_a(uint32_t (*a)[4][2], const Gradient& x, const GradientPart& part,
                              int warp_column) {
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const int column = warp_column + g / 2 * 8, inside = part.columns - column;
  const uint32_t halves = g % 2 == 0 ? 0x5410u : 0x7632u;
  uint4 rows[kTiles][2][2];
#pragma unroll
  for (int r = 0; r < kTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int rank = 16 * r + 8 * half + 2 * t + i;
        const act_t* const from = x.a + int64_t{rank} * part.columns + column;
        uint4& row = rows[r][half][i];
        row = make_uint4(0, 0, 0, 0);
        if (inside <= 0 || rank >= part.ranks) continue;
        row = kAligned ? *reinterpret_cast<const uint4*>(from) : pack8(load_first8(from, inside));
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kTiles; ++r) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        a[r][j][half] =
            __byte_perm(word_of(rows[r][half][0], j), word_of(rows[r][half][1], j), halves);
      }
    }
  }
}

// Blocks a multiprocessor has registers for.
constexpr int gradient_blocks(int tiles, bool input) { return input && tiles > 3 ? 1 : 2; }

// kTiles: tiles of 16 ranks.
template <int kTiles, bool kInput, bool kAligned>
__global__ void __launch_bounds__(kGradientBlock, gradient_blocks(kTiles, kInput))
    gradient_kernel(const __grid_constant__ Gradient x) {
  extern __shared__ __align__(128) uint8_t raw[];
  using Stage = GradientStage<kTiles, kInput>;
  constexpr int kTokens = Stage::kTokens;
  Stage* const stages = reinterpret_cast<Stage*>(raw);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int last = x.split.begin(blockIdx.x + 1);
  for (int unit = x.split.begin(blockIdx.x); unit < last;) {
    const int strip = unit / x.split.steps, first_step = unit % x.split.steps;
    const int steps = min(last - unit, x.split.steps - first_step);
    const GradientPart& part = part_of(x, strip);
    const int warp_column = (strip - part.strip) * kStrip + warp * 32;
    const int column = warp_column + lane % 4 * 8;  // first of this lane's
    const int begin = first_step * kTokens;
    const int end = min(begin + steps * kTokens, x.T);

    GradientSource<kTiles, kInput> source(x, part, begin, end, column);
#pragma unroll
    for (int s = 0; s < kGradientStages - 1; ++s) {
      if (s < steps) source.template load<kAligned>(stages[s], x, begin + s * kTokens, end);
      copies_commit();
    }
    uint32_t a[kInput ? kTiles : 1][4][2];
    if (kInput) load_a<kTiles, kAligned>(a, x, part, warp_column);
    const MaskColumns columns = mask_columns(x.mask, column);
    act_t* to = nullptr;  // where this lane's dX goes
    if (kInput) to = x.dx + int64_t{begin + lane / 4} * x.lddx + column;
    int tokens = column < part.columns ? end - begin - lane / 4 : 0;  // from there on

    float sums[kTiles][4][4] = {};
    for (int step = 0; step < steps; ++step) {
      copies_wait<kGradientStages - 2>();
      __syncthreads();
      const int ahead = step + kGradientStages - 1;
      if (ahead < steps) {
        source.template load<kAligned>(stages[ahead % kGradientStages], x, begin + ahead * kTokens,
                                       end);
      }
      copies_commit();
      const Stage& stage = stages[step % kGradientStages];
#pragma unroll
      for (int h = 0; h < kTokens / 16; ++h) {
        const act_t* const left = stage.left + 16 * h * Stage::kLeftLd;
        uint4 right[2] = {stage.right[2 * h][threadIdx.x], stage.right[2 * h + 1][threadIdx.x]};
        Kept kept[2] = {kept_all(), kept_all()};
        if (x.mask.active) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int token = 16 * h + 8 * i + lane / 4;
            const MaskRow row = mask_row(x.mask, stage.keys[token], stage.positions[token]);
            kept[i] = kept_of(x.mask, row, columns);
            right[i] = masked8(right[i], kept[i]);
          }
        }
        uint32_t b[4][2];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          b[j][0] = turned(word_of(right[0], j));
          b[j][1] = turned(word_of(right[1], j));
        }
#pragma unroll
        for (int r = 0; r < kTiles; ++r) {
          uint32_t left_t[4];
          load_matrices_transposed(left_t, left + (lane / 16 * 8 + lane % 8) * Stage::kLeftLd +
                                               16 * r + lane / 8 % 2 * 8);
#pragma unroll
          for (int j = 0; j < 4; ++j) mma(sums[r][j], left_t, b[j][0], b[j][1]);
        }
        if (!kInput) continue;
        float p[4][4] = {};
#pragma unroll
        for (int r = 0; r < kTiles; ++r) {
          uint32_t rows[4];
          load_matrices(rows, left + lane % 16 * Stage::kLeftLd + 16 * r + lane / 16 * 8);
#pragma unroll
          for (int j = 0; j < 4; ++j) mma(p[j], rows, a[r][j][0], a[r][j][1]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          Float8 dx = unpack8(stage.dx[2 * h + i][threadIdx.x]);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const uint32_t pair = kept[i].pair[j];
            if (keeps_lower(pair)) dx.v[2 * j] += x.scale * p[j][2 * i];
            if (keeps_upper(pair)) dx.v[2 * j + 1] += x.scale * p[j][2 * i + 1];
          }
          if (8 * i >= tokens) continue;
          act_t* const row = to + i * (8 * x.lddx);
          if (kAligned) {
            store8(row, dx);
          } else {
            store_first8(row, dx, part.columns - column);
          }
        }
        to += 16 * x.lddx;
        tokens -= 16;
      }
    }

    float* const partial = x.partial + (int64_t{blockIdx.x} + strip) * (16 * kTiles * kStrip) +
                           lane / 4 * kStrip + warp * 32 + lane % 4 * 8;
#pragma unroll
    for (int r = 0; r < kTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float4* const row = reinterpret_cast<float4*>(partial + (16 * r + 8 * half) * kStrip);
        const int i = 2 * half;
        row[0] = make_float4(sums[r][0][i], sums[r][0][i + 1], sums[r][1][i], sums[r][1][i + 1]);
        row[1] = make_float4(sums[r][2][i], sums[r][2][i + 1], sums[r][3][i], sums[r][3][i + 1]);
      }
    }
    unit += steps;
    __syncthreads();  // the stages are free for the next strip
  }
}

// out += scale · the blocks' sums, in order. A thread has one column and four ranks.
template <int kTiles>
__global__ void __launch_bounds__(kStrip) add_stretches_kernel(const __grid_constant__ Gradient x) {
  constexpr int kAtOnce = 6;  // blocks' sums on their way
  const int strip = blockIdx.x;
  const GradientPart& part = part_of(x, strip);
  const int column = (strip - part.strip) * kStrip + threadIdx.x;
  const int first = blockIdx.y * 4;  // rank
  if (column >= part.columns || first >= part.ranks) return;
  const int block = x.split.block_of(strip * x.split.steps);
  const int blocks = x.split.block_of((strip + 1) * x.split.steps - 1) - block + 1;
  constexpr int64_t kEach = 16 * kTiles * kStrip;
  const float* from = x.partial + (block + strip) * kEach + first * kStrip + threadIdx.x;
  float sums[4] = {};
  for (int i = 0; i < blocks; i += kAtOnce) {
    float values[kAtOnce][4];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const float* const block_sums = from + min(i + j, blocks - 1) * kEach;
#pragma unroll
      for (int r = 0; r < 4; ++r) values[j][r] = block_sums[r * kStrip];
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[r] += i + j < blocks ? values[j][r] : 0.0f;
    }
  }
  float* const out = part.out + first * part.rank_stride + column * part.column_stride;
  if (part.rank_stride == 1 && part.column_stride % 4 == 0 &&
      reinterpret_cast<uintptr_t>(part.out) % 16 == 0) {
    float4 old = *reinterpret_cast<const float4*>(out);
    old.x += x.scale * sums[0];
    old.y += x.scale * sums[1];
    old.z += x.scale * sums[2];
    old.w += x.scale * sums[3];
    *reinterpret_cast<float4*>(out) = old;
    return;
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    if (first + r < part.ranks) out[r * part.rank_stride] += x.scale * sums[r];
  }
}

template <int kTiles, bool kInput, bool kAligned>
void launch_gradient(Gradient x, CudaDevice& device, const char* op) {
  using Stage = GradientStage<kTiles, kInput>;
  constexpr size_t kShared = kGradientStages * sizeof(Stage);
  check(cudaFuncSetAttribute(gradient_kernel<kTiles, kInput, kAligned>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, int{kShared}),
        op);
  x.split = split_evenly(x.strips, ceil_div(x.T, Stage::kTokens),
                         resident_blocks(gradient_blocks(kTiles, kInput), kShared, device));
  x.partial = partial_sums(int64_t{x.split.blocks + x.strips} * 16 * kTiles * kStrip, device);
  gradient_kernel<kTiles, kInput, kAligned>
      <<<static_cast<unsigned>(x.split.blocks), kGradientBlock, kShared, device.stream()>>>(x);
  check_launch(op);
  add_stretches_kernel<kTiles>
      <<<dim3(static_cast<unsigned>(x.strips), 4 * kTiles), kStrip, 0, device.stream()>>>(x);
  check_launch(op);
}

// Fills in strips; ranks of the parts ≤ kMostRanks. aligned: rows begin on 16 bytes, parts' columns
// and ranks are multiples of 8.
template <bool kInput>
void add_gradient(Gradient x, bool aligned, CudaDevice& device, const char* op) {
  int ranks = 0;
  x.strips = 0;
  for (int p = 0; p < x.num_parts; ++p) {
    GradientPart& part = x.parts[p];
    part.strip = x.strips;
    x.strips += static_cast<int>(ceil_div(part.columns, kStrip));
    ranks = std::max(ranks, part.ranks);
    aligned = aligned && part.column % 8 == 0 && part.columns % 8 == 0 && part.rank % 8 == 0 &&
              part.ranks % 8 == 0;
  }
  if (!aligned) return launch_gradient<4, kInput, false>(x, device, op);
  switch (ceil_div(ranks, 16)) {
    case 1:
      return launch_gradient<1, kInput, true>(x, device, op);
    case 2:
      return launch_gradient<2, kInput, true>(x, device, op);
    case 3:
      return launch_gradient<3, kInput, true>(x, device, op);
    default:
      return launch_gradient<4, kInput, true>(x, device, op);
  }
}

}  // namespace cuda
}  // namespace qlora
