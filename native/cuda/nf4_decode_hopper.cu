// The NF4 products of more than a few rows of x on Hopper, LoRA's included: nf4_decode.h. One
// launch computes y = x · Wᵀ + U · sBᵀ with U = x · Aᵀ, which it leaves in x's columns behind `in`.
//
// Bytes: W packed, once; x once a block. With M rows of w in a block's unit, a run of 128 columns
// brings 64 · M bytes of w and 16 KB of x to an SM: M is 256, four warpgroups that share the run's
// x. A warpgroup multiplies m64n64k16 with w from its registers. Shared memory is what is busiest:
// for 64 × 64 of w, in accesses of 128 bytes, 64 look-ups of pairs of codes, 64 for the products'
// x, 32 for w's bytes on their way to the right lanes, 16 for their arrival and 16 for x's: 192
// cycles, where the products need 128. So per SM: 192 cycles for 4,096 weights, or 52 µs for a
// layer of the 8B at 1.7 GHz on 132 SMs.
//
// A block: one thread has the copy engine bring runs of w, of x and of A to a ring of stages, w's
// and A's before the previous kernel has ended; four warpgroups multiply; three warps compute U.
// `in` is split over the blocks of a cluster, which add their parts in order through each other's
// shared memory.
//
// U of a part with up to kOwnRank ranks each block computes for itself, of its piece of `in`: the
// sum over the pieces comes after sB, of which products are linear. That is kOwnRank rows beside
// the kUnitRows of w, and no block waits for another. U of larger ranks all blocks compute
// together.
//
// A byte of w holds the columns 2b and 2b + 1, and the product wants from lane t of a quad the
// columns 2t, 2t + 1 of each eight: byte t of each 32-bit word. A lane loads four neighbouring
// words of a row and the quad exchanges their bytes as a 4 × 4 matrix.
//
// Together: U's pieces are added by the last warp to finish a tile, always in the same order. Every
// unit waits for U before it ends; the warps that compute U wait for nothing and belong to blocks
// that all are there at once, so they come to their end.
#include <algorithm>
#include <climits>

#include "common.cuh"
#include "nf4_decode.h"
#include "nf4_lookup.cuh"
#include "tensor_copy.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kRows = 64;  // of x, a launch
constexpr int kWarpgroups = 4;
constexpr int kUnitRows = 64 * kWarpgroups;  // of w
constexpr int kConsumers = kWarpgroups * kWarpgroup;
constexpr int kProducers = kWarp, kProjectors = 3 * kWarp;
constexpr int kHopperBlock = kConsumers + kProducers + kProjectors;
constexpr int kStages = 4;
constexpr int kMostSplits = 8;  // of `in`: the blocks of a cluster

constexpr int kTileValues = kRows * kBlockValues;  // of x, 64 columns
constexpr int kRowBytes = kRun / 2;                // of w, a run
constexpr int kSumsLd = kUnitRows + 4;             // 2 · kSumsLd = 8 modulo 32 banks
constexpr int kProjectTile = 16 * 8;               // rows of A by rows of x
constexpr int kOwnRank = 16;                       // of a part, for U by each block
constexpr int kOwnLd = kOwnRank + 8;               // of U: rows 12 banks apart

struct Stage {
  act_t x[2][kTileValues];
  uint8_t w[kUnitRows * kRowBytes];
  act_t a[2][kOwnRank * kBlockValues];
};
struct HopperShared {  // behind the table, at a multiple of 1,024 bytes
  Stage stage[kStages];
  uint64_t filled[kStages], free[kStages];
  uint8_t staging[kStagingBytes];  // of the table
  act_t u[kRows * kOwnLd];         // the block's own
};
static_assert(kTableRoom % 1024 == 0 && sizeof(Stage) % 1024 == 0, "operands of products");
static_assert(kRows * kSumsLd * sizeof(float) <= kStages * sizeof(Stage),
              "the sums fit the stages");
constexpr int kHopperBytes = kTableRoom + int{sizeof(HopperShared)};

// U = x · Aᵀ by all blocks, with R rows of A: tiles of 16 rows of A and 8 of x, `in` in `splits`
// pieces, by the first `blocks` blocks. R 0: there is none.
struct Projection {
  const act_t* a;
  act_t* u;
  int R, row_tiles, tiles, splits, blocks;
  float* partial;     // [tiles, splits, kProjectTile]
  unsigned* tickets;  // (tiles), then how many tiles are ready, then how many units have seen it
};

template <class Y>
struct HopperCall {
  Y* y;
  int64_t ldy;
  const act_t* x;
  int64_t ldx;
  int m;
  float beta;
  int splits;
  PackedGroup w;
  Projection projection;
  CUtensorMap packed[ops::kMostParts];  // boxes of kUnitRows rows, a run
  CUtensorMap tiles;                    // of x, boxes of 64 columns
  bool own_u;                           // by each block; else as the projection has it
  CUtensorMap a[ops::kMostParts];       // of parts with a rank, boxes of kOwnRank rows, 64 columns
};

enum class Role { consumer, producer, projector };

// A run of `in` that a block takes, and the unit's rows.
struct Slice {
  int unit_row, last_row;  // of the part; rows behind the last are that one again
  int begin, end;          // runs
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Registers: 96 a thread at the start; four warpgroups with 8 more, one with 32 fewer.
constexpr int kManyRegisters = 104, kFewRegisters = 64;

// ---- clusters -----------------------------------------------------------------------------------

__device__ inline void cluster_sync() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;\n" ::
          : "memory");
}
// 16 bytes at the same place of the shared memory of another block of the cluster.
__device__ inline float4 load_of_block(uint32_t address, int block) {
  float4 v;
  asm volatile(
      "{\n.reg .u32 there;\n"
      "mapa.shared::cluster.u32 there, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [there];\n"
      "}\n"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(address), "r"(block)
      : "memory");
  return v;
}

// ---- producer -----------------------------------------------------------------------------------

// One thread's work. A stage's bytes: all of its boxes, also where the matrices end.
template <int kColumnTiles>
struct Producer {
  static constexpr int kBytes =
      kUnitRows * kRowBytes + 2 * kColumnTiles * 8 * kBlockValues * int{sizeof(act_t)};
  static constexpr int kBytesOfA = 2 * kOwnRank * kBlockValues * int{sizeof(act_t)};

  HopperShared& s;
  const CUtensorMap *packed, *tiles, *a;  // a null: U is not the block's own
  const Slice slice;

  __device__ void bring_w(int at, int run) {
    barrier_expect(&s.filled[at], a != nullptr ? kBytes + kBytesOfA : kBytes);
    copy_box(s.stage[at].w, packed, slice.unit_row, run * kRowBytes, &s.filled[at]);
    for (int half = 0; a != nullptr && half < 2; ++half) {
      copy_box(s.stage[at].a[half], a, 0, run * kRun + half * kBlockValues, &s.filled[at]);
    }
  }
  // w of the first stages, as far as there are runs: before the previous kernel has ended.
  __device__ void begin() {
    prefetch_map(tiles);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(&s.filled[i], 1);
      barrier_init(&s.free[i], (a != nullptr ? kConsumers + kProjectors : kConsumers) / kWarp);
    }
    fence_for_copies();
    for (int i = 0; i < kStages && slice.begin + i < slice.end; ++i) bring_w(i, slice.begin + i);
  }
  __device__ void run() {
    for (int i = 0; slice.begin + i < slice.end; ++i) {
      const int at = i % kStages, run = slice.begin + i;
      if (i >= kStages) {
        barrier_wait(&s.free[at], ~(i / kStages) & 1);
        bring_w(at, run);
      }
      for (int half = 0; half < 2; ++half) {
        copy_box(s.stage[at].x[half], tiles, 0, run * kRun + half * kBlockValues, &s.filled[at]);
      }
    }
  }
};

// ---- U, each block its own ----------------------------------------------------------------------

// U of the block's piece of `in`, all rows of x: three warps take 16 rows of x each, in turn.
template <int kColumnTiles>
__device__ inline void project_own(HopperShared& s, const Slice& slice) {
  constexpr int kWarps = kProjectors / kWarp, kPairs = kColumnTiles / 2;
  constexpr int kMost = (kPairs + kWarps - 1) / kWarps;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp = (static_cast<int>(threadIdx.x) - kConsumers - kProducers) / kWarp;
  const int a_row = lane % 16, a_chunk = lane / 16;
  const int x_row = lane % 8 + lane / 16 * 8, x_chunk = lane / 8 % 2;
  float sums[kMost][2][4] = {};
  const unsigned runs = static_cast<unsigned>(slice.end - slice.begin);
#pragma unroll 1
  for (unsigned i = 0; i < runs; ++i) {
    const unsigned at = i % kStages;
    Stage& stage = s.stage[at];
    barrier_wait(&s.filled[at], static_cast<int>(i / kStages & 1));
#pragma unroll
    for (int step = 0; step < kRun / 16; ++step) {
      const int half = step / 4, chunk = step % 4 * 2;
      uint32_t a[4];
      load_matrices(a, swizzled<kOwnRank>(stage.a[half], a_row, chunk + a_chunk));
#pragma unroll
      for (int j = 0; j < kMost; ++j) {
        const int pair = warp + j * kWarps;
        if (pair >= kPairs) break;
        uint32_t b[4];
        load_matrices(b, swizzled<kRows>(stage.x[half], pair * 16 + x_row, chunk + x_chunk));
        mma(sums[j][0], a, b[0], b[1]);
        mma(sums[j][1], a, b[2], b[3]);
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(&s.free[at]);
  }
#pragma unroll
  for (int j = 0; j < kMost; ++j) {
    const int pair = warp + j * kWarps;
    if (pair >= kPairs) break;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int n = pair * 16 + i / 4 * 8 + 2 * t + i % 2, r = g + i % 4 / 2 * 8;
      s.u[n * kOwnLd + r] = from_float<act_t>(sums[j][i / 4][i % 4]);
    }
  }
}

// ---- U, all blocks together ---------------------------------------------------------------------

// Columns [k, k + 8) of a row, zeros when the row is not there.
__device__ inline uint4 read8(const act_t* row, int k, bool valid) {
  return valid ? *reinterpret_cast<const uint4*>(row + k) : make_uint4(0, 0, 0, 0);
}

// The product of a tile over steps [begin, end) of 32 columns: its sums as mma.cuh's c.
__device__ inline void project_tile(float sums[4], const act_t* a, int a_rows, int in,
                                    const act_t* x, int64_t ldx, int x_rows, int begin, int end) {
  constexpr int kStep = 32, kAhead = 3;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const act_t* const a_row = a + int64_t{g} * in + t * 8;
  const act_t* const x_row = x + g * ldx + t * 8;
  for (int step = begin; step < end; step += kAhead) {
    uint4 top[kAhead], low[kAhead], b[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int k = (step + i) * kStep;
      const bool valid = step + i < end;
      top[i] = read8(a_row, k, valid && g < a_rows);
      low[i] = read8(a_row + int64_t{8} * in, k, valid && g + 8 < a_rows);
      b[i] = read8(x_row, k, valid && g < x_rows);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const uint32_t first[4] = {top[i].x, low[i].x, top[i].y, low[i].y};
      const uint32_t second[4] = {top[i].z, low[i].z, top[i].w, low[i].w};
      mma(sums, first, b[i].x, b[i].y);
      mma(sums, second, b[i].z, b[i].w);
    }
  }
}

__device__ inline unsigned add_released(unsigned* counter) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;\n"
               : "=r"(before)
               : "l"(counter)
               : "memory");
  return before;
}

// The part of `in` that is piece `split`: steps of 32 columns.
__device__ inline int first_step(const Projection& p, int in, int split) {
  return static_cast<int>(int64_t{in / 32} * split / p.splits);
}
// The first of a warp's pieces, of which it takes every `stride`-th; behind the last, it has none.
__device__ inline int first_piece(const Projection& p) {
  constexpr int kFirstWarp = (kConsumers + kProducers) / kWarp;
  const int block = static_cast<int>(blockIdx.x);
  if (block >= p.blocks) return INT_MAX;
  return (static_cast<int>(threadIdx.x) / kWarp - kFirstWarp) * p.blocks + block;
}

// Brings the rows of A near that the warp's first piece takes.
__device__ inline void prefetch_a(const Projection& p, int in) {
  constexpr int kLine = 64;  // columns
  const int piece = first_piece(p), lane = threadIdx.x % kWarp;
  if (piece >= p.tiles * p.splits) return;
  const int row = piece % p.tiles % p.row_tiles * 16 + lane % 16;
  const int begin = first_step(p, in, piece / p.tiles) * 32;
  const int end = first_step(p, in, piece / p.tiles + 1) * 32;
  for (int k = begin + lane / 16 * kLine; k < end && row < p.R; k += 2 * kLine) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p.a + int64_t{row} * in + k));
  }
}

// The warp's pieces of U, and of a tile whose pieces are all there their sum.
__device__ inline void project(const Projection& p, const act_t* x, int64_t ldx, int m, int in) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  constexpr int kWarps = kProjectors / kWarp;
  for (int job = first_piece(p); job < p.tiles * p.splits; job += kWarps * p.blocks) {
    const int tile = job % p.tiles, split = job / p.tiles;
    const int first_r = tile % p.row_tiles * 16, first_n = tile / p.row_tiles * 8;
    float sums[4] = {};
    project_tile(sums, p.a + int64_t{first_r} * in, p.R - first_r, in, x + first_n * ldx, ldx,
                 m - first_n, first_step(p, in, split), first_step(p, in, split + 1));
    // Lane by lane: each has the same four sums of every piece.
    float4* const pieces =
        reinterpret_cast<float4*>(p.partial + int64_t{tile} * p.splits * kProjectTile);
    __stcg(pieces + split * kWarp + lane, make_float4(sums[0], sums[1], sums[2], sums[3]));
    __threadfence();
    __syncwarp();
    unsigned before = 0;
    if (lane == 0) before = add_released(p.tickets + tile);
    before = __shfl_sync(kAllLanes, before, 0);
    if (before != static_cast<unsigned>(p.splits) - 1) continue;
    __threadfence();
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
    for (int i = 0; i < p.splits; ++i) {
      const float4 piece = __ldcg(pieces + i * kWarp + lane);
      sum.x += piece.x;
      sum.y += piece.y;
      sum.z += piece.z;
      sum.w += piece.w;
    }
    const float of[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int n = first_n + 2 * t + j % 2, r = first_r + g + j / 2 * 8;
      if (n < m && r < p.R) p.u[n * ldx + r] = from_float<act_t>(of[j]);
    }
    __threadfence();
    __syncwarp();
    if (lane == 0) {
      p.tickets[tile] = 0;
      add_released(p.tickets + p.tiles);
    }
  }
}

// By a whole warp: until all of U is there.
__device__ inline void await_projection(const Projection& p) {
  if (threadIdx.x % kWarp == 0) {
    unsigned ready;
    do {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];\n"
                   : "=r"(ready)
                   : "l"(p.tickets + p.tiles)
                   : "memory");
      if (ready < static_cast<unsigned>(p.tiles)) __nanosleep(64);
    } while (ready < static_cast<unsigned>(p.tiles));
  }
  __syncwarp();
}
// By one thread, when its unit has waited: the last one leaves the counters as they were.
__device__ inline void leave_projection(const Projection& p, int units) {
  unsigned* const ready = p.tickets + p.tiles;
  if (add_released(ready + 1) != static_cast<unsigned>(units) - 1) return;
  ready[0] = 0;
  ready[1] = 0;
}

// ---- consumers ----------------------------------------------------------------------------------

// The bytes of 4 × 4 words, word j of lane t: lane t gets byte t of word j of each lane of its
// quad, in the lanes' order.
class QuadTranspose {
 public:
  __device__ QuadTranspose() {
    const int t = threadIdx.x % 4;
    const bool odd = t % 2 != 0, high = t >= 2;
    send_near_ = odd ? 0x6420u : 0x7531u;
    near_[0] = odd ? 0x3514u : 0x5240u;
    near_[1] = odd ? 0x3716u : 0x7260u;
    send_far_ = high ? 0x5410u : 0x7632u;
    far_[0] = high ? 0x3254u : 0x5410u;
    far_[1] = high ? 0x3276u : 0x7610u;
  }
  __device__ void operator()(uint32_t (&words)[4]) const {
    exchange(words, send_near_, near_, 1);
    exchange(words, send_far_, far_, 2);
  }

 private:
  __device__ static void exchange(uint32_t (&words)[4], uint32_t send, const uint32_t (&keep)[2],
                                  int distance) {
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
      const uint32_t theirs =
          __shfl_xor_sync(kAllLanes, __byte_perm(words[pair], words[pair + 1], send), distance);
      words[pair] = __byte_perm(words[pair], theirs, keep[0]);
      words[pair + 1] = __byte_perm(words[pair + 1], theirs, keep[1]);
    }
  }

  uint32_t send_near_, near_[2], send_far_, far_[2];
};

// The absmax of a run's two blocks in a warp's 16 rows: lane t of quad g has block t % 2 of row
// g + 8 · (t / 2), loaded a run ahead.
template <bool kNested>
class LaneScale {
 public:
  __device__ LaneScale(const PackedPart& part, const Slice& slice, int blocks)
      : part_(part), last_(blocks - 1) {
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    const int row = slice.unit_row + static_cast<int>(threadIdx.x) / kWarp * 16 + g + t / 2 * 8;
    first_ = min(row, slice.last_row) * blocks;
    half_ = t % 2;
    load(slice.begin);
  }
  __device__ void load(int run) {
    load_absmax<kNested>(code_, value_, part_, first_ + min(2 * run + half_, last_));
  }
  // As the sum of two bf16, the rounded one low.
  __device__ uint32_t split(uint32_t lane_at) const {
    const float own = absmax_of<kNested>(code_, value_, part_.offset, lane_at);
    const float rounded = to_float(from_float<act_t>(own));
    return pack_bf16(rounded, own - rounded);
  }

 private:
  const PackedPart& part_;
  int last_, first_, half_;
  uint32_t code_ = 0;
  float value_ = 0.0f;
};

// A pair of codes times a value, given as a pair of its rounded self and one of what that lacks.
__device__ inline uint32_t scaled(uint32_t codes, uint32_t high, uint32_t low) {
  uint32_t rest, product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(rest) : "r"(codes), "r"(low));
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(codes), "r"(high), "r"(rest));
  return product;
}

// The four products' a of a block of 64: rows g (top) and g + 8 (below) of a warp's 16.
template <int kHalf>
__device__ inline void fragments_of_block(uint32_t (&a)[4][4], const uint32_t (&top)[4],
                                          const uint32_t (&below)[4], uint32_t scale_top,
                                          uint32_t scale_below, uint32_t lane) {
  const uint32_t high_top = __byte_perm(scale_top, 0, 0x1010);
  const uint32_t low_top = __byte_perm(scale_top, 0, 0x3232);
  const uint32_t high_below = __byte_perm(scale_below, 0, 0x1010);
  const uint32_t low_below = __byte_perm(scale_below, 0, 0x3232);
#pragma unroll
  for (int j = 0; j < 4; ++j) {  // columns 8j … of every 32
    uint32_t (&first)[4] = a[j / 2], (&second)[4] = a[2 + j / 2];
    first[j % 2 * 2] = scaled(look_up<2 * kHalf>(top[j], lane), high_top, low_top);
    first[j % 2 * 2 + 1] = scaled(look_up<2 * kHalf>(below[j], lane), high_below, low_below);
    second[j % 2 * 2] = scaled(look_up<2 * kHalf + 1>(top[j], lane), high_top, low_top);
    second[j % 2 * 2 + 1] = scaled(look_up<2 * kHalf + 1>(below[j], lane), high_below, low_below);
  }
}

template <int kColumnTiles>
__device__ inline void multiply_block(float (&sums)[kColumnTiles][4], const uint32_t (&a)[4][4],
                                      Operand b) {
  static_assert(kColumnTiles == 2 || kColumnTiles == 4 || kColumnTiles == 8, "16, 32 or 64 rows");
  products_begin();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    if constexpr (kColumnTiles == 8) {
      wgmma_64<false>(sums, a[s], b + s * 32, true);
    } else if constexpr (kColumnTiles == 4) {
      wgmma_32(sums, a[s], b + s * 32);
    } else {
      wgmma_16(sums, a[s], b + s * 32);
    }
  }
  products_commit();
}

// The last products may still be running when it returns.
template <int kColumnTiles, bool kNested>
__device__ inline void multiply(float (&sums)[kColumnTiles][4], HopperShared& s, const Slice& slice,
                                LaneScale<kNested>& scale, uint32_t lane_at) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarp;
  const int row = warp * 16 + g, quad = lane - t;
  const QuadTranspose transpose;
  uint32_t even[4][4], odd[4][4];
  const unsigned runs = static_cast<unsigned>(slice.end - slice.begin);
#pragma unroll 1
  for (unsigned i = 0; i < runs; ++i) {
    const unsigned at = i % kStages;
    Stage& stage = s.stage[at];
    const uint32_t own = scale.split(lane_at);
    if (i + 1 < runs) scale.load(slice.begin + static_cast<int>(i) + 1);
    barrier_wait(&s.filled[at], static_cast<int>(i / kStages & 1));
    const uint8_t* const bytes = stage.w + row * kRowBytes + t * 16;
    const uint4 top4 = *reinterpret_cast<const uint4*>(bytes);
    const uint4 below4 = *reinterpret_cast<const uint4*>(bytes + 8 * kRowBytes);
    uint32_t top[4] = {top4.x, top4.y, top4.z, top4.w};
    uint32_t below[4] = {below4.x, below4.y, below4.z, below4.w};
    transpose(top);
    transpose(below);

    fragments_of_block<0>(even, top, below, __shfl_sync(kAllLanes, own, quad),
                          __shfl_sync(kAllLanes, own, quad + 2), lane_at);
    multiply_block(sums, even, operand(stage.x[0]));
    products_wait<1>();
    if (i > 0) {  // the run before is done with
      __syncwarp();
      if (lane == 0) barrier_arrive(&s.free[(i - 1) % kStages]);
    }
    fragments_of_block<1>(odd, top, below, __shfl_sync(kAllLanes, own, quad + 1),
                          __shfl_sync(kAllLanes, own, quad + 3), lane_at);
    multiply_block(sums, odd, operand(stage.x[1]));
    products_wait<1>();
  }
}

// Columns r, r + 1 of a row of `count`, zeros behind it. aligned: rows and r are of whole pairs.
template <class Read>
__device__ inline uint32_t read_pair(const Read& read, const act_t* row, int r, int count,
                                     bool aligned) {
  if (r >= count) return 0;
  if (aligned) return read(reinterpret_cast<const unsigned int*>(row + r));
  const unsigned short* const bits = reinterpret_cast<const unsigned short*>(row + r);
  const uint32_t low = read(bits), high = r + 1 < count ? read(bits + 1) : 0;
  return low | high << 16;
}

__device__ inline bool in_pairs(const PackedPart& part) {
  return part.rank % 2 == 0 && reinterpret_cast<uintptr_t>(part.b) % 4 == 0;
}

// The next 16 columns of w behind `in`: sB's from k on, of the warp's 16 rows.
__device__ inline void load_b(uint32_t (&a)[4], const PackedPart& part, int unit_row, int k) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarp;
  const bool pairs = in_pairs(part);
  const auto frozen = [](const auto* at) { return __ldg(at); };
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = unit_row + warp * 16 + i * 8 + g;
    const act_t* const b = part.b + int64_t{row} * part.rank;
    const int count = row < part.out ? part.rank : 0;
    a[i] = read_pair(frozen, b, k + 2 * t, count, pairs);
    a[i + 2] = read_pair(frozen, b, k + 2 * t + 8, count, pairs);
  }
}

// sums += U · sBᵀ, with the block's own U; a: load_b's.
template <int kColumnTiles>
__device__ inline void add_own(float (&sums)[kColumnTiles][4], const uint32_t (&a)[4],
                               const act_t* u) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int c = 0; c < kColumnTiles; ++c) {
    const uint32_t* const pairs = reinterpret_cast<const uint32_t*>(u + (c * 8 + g) * kOwnLd) + t;
    mma(sums[c], a, pairs[0], pairs[4]);
  }
}

// sums += U · sBᵀ of the unit, with the U of all blocks.
template <int kColumnTiles>
__device__ inline void add_lora(float (&sums)[kColumnTiles][4], const PackedPart& part,
                                int unit_row, const Projection& p, int64_t ldx, int m) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const act_t* const u = p.u + part.rank_offset;
  const bool pairs = in_pairs(part) && reinterpret_cast<uintptr_t>(u) % 4 == 0 && ldx % 2 == 0;
  const auto fresh = [](const auto* at) { return __ldcg(at); };
  for (int k = 0; k < part.rank; k += 16) {
    uint32_t a[4];
    load_b(a, part, unit_row, k);
    if (k == 0) await_projection(p);
    uint32_t of_u[kColumnTiles][2];
#pragma unroll
    for (int c = 0; c < kColumnTiles; ++c) {
      const int n = c * 8 + g, count = n < m ? part.rank : 0;
      of_u[c][0] = read_pair(fresh, u + n * ldx, k + 2 * t, count, pairs);
      of_u[c][1] = read_pair(fresh, u + n * ldx, k + 2 * t + 8, count, pairs);
    }
#pragma unroll
    for (int c = 0; c < kColumnTiles; ++c) mma(sums[c], a, of_u[c][0], of_u[c][1]);
  }
}

// ---- the end ------------------------------------------------------------------------------------

// Four rows of the unit for row n of x.
template <class Y>
__device__ inline void store4(const HopperCall<Y>& call, const PackedPart& part, int row, int n,
                              float4 sum) {
  Y* const to = call.y + n * call.ldy + part.first + row;
  float values[4] = {sum.x, sum.y, sum.z, sum.w};
  const bool whole = row + 4 <= part.out && reinterpret_cast<uintptr_t>(to) % (4 * sizeof(Y)) == 0;
  if constexpr (sizeof(Y) == 2) {
    if (whole) {
      uint2* const pairs = reinterpret_cast<uint2*>(to);
      if (call.beta != 0.0f) {
        const uint2 old = *pairs;
        values[0] += call.beta * low_float(old.x);
        values[1] += call.beta * high_float(old.x);
        values[2] += call.beta * low_float(old.y);
        values[3] += call.beta * high_float(old.y);
      }
      *pairs = make_uint2(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]));
      return;
    }
  } else if (whole && call.beta == 0.0f) {
    *reinterpret_cast<float4*>(to) = sum;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (row + i >= part.out) return;
    to[i] = from_float<Y>(call.beta == 0.0f ? values[i] : values[i] + call.beta * to_float(to[i]));
  }
}

// Of a share of x's rows, the sums of all blocks of the cluster in their order, from
// sums [kRows, kSumsLd] in each.
template <class Y>
__device__ inline void store_share(const HopperCall<Y>& call, const PackedPart& part, int unit_row,
                                   int split, const float* sums) {
  const int begin = call.m * split / call.splits, end = call.m * (split + 1) / call.splits;
  for (int i = threadIdx.x; i < (end - begin) * (kUnitRows / 4); i += kConsumers) {
    const int n = begin + i / (kUnitRows / 4), row = i % (kUnitRows / 4) * 4;
    const float* const at = sums + n * kSumsLd + row;
    float4 sum;
    if (call.splits == 1) {
      sum = *reinterpret_cast<const float4*>(at);
    } else {
      float4 of[kMostSplits];
#pragma unroll
      for (int s = 0; s < kMostSplits; ++s) {
        if (s < call.splits) of[s] = load_of_block(shared_address(at), s);
      }
      sum = of[0];
#pragma unroll
      for (int s = 1; s < kMostSplits; ++s) {
        if (s >= call.splits) break;
        sum.x += of[s].x;
        sum.y += of[s].y;
        sum.z += of[s].z;
        sum.w += of[s].w;
      }
    }
    store4(call, part, unit_row + row, n, sum);
  }
}

template <int kColumnTiles>
__device__ inline void store_sums(float* to, const float (&sums)[kColumnTiles][4]) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarp;
#pragma unroll
  for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      to[(c * 8 + 2 * t + j % 2) * kSumsLd + warp * 16 + g + j / 2 * 8] = sums[c][j];
    }
  }
}
#endif

// Empty but for machine code of sm_90a. A cluster of call.splits blocks takes a unit, for up to
// 8 · kColumnTiles rows of x.
template <int kColumnTiles, bool kNested, class Y>
__global__ void __launch_bounds__(kHopperBlock, 1)
    hopper_kernel(const __grid_constant__ HopperCall<Y> call,
                  const __grid_constant__ DynamicMap map) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(256) uint8_t shared[];
  let_next_begin();
  uint8_t* const table = table_of(shared);
  HopperShared& s = *reinterpret_cast<HopperShared*>(table + kTableBytes);
  const PackedGroup& w = call.w;
  const int split = static_cast<int>(blockIdx.x) % call.splits;
  const int unit = static_cast<int>(blockIdx.x) / call.splits;
  const int part_number = part_of(w, unit);
  const PackedPart& part = w.part[part_number];
  const int runs = (w.blocks + 1) / 2;
  const Slice slice = {(unit - part.first_unit) * kUnitRows, part.out - 1,
                       runs * split / call.splits, runs * (split + 1) / call.splits};
  const Role role = threadIdx.x < kConsumers                ? Role::consumer
                    : threadIdx.x < kConsumers + kProducers ? Role::producer
                                                            : Role::projector;

  const bool produces = threadIdx.x == kConsumers;
  const bool own_u = call.own_u && part.rank > 0;
  Producer<kColumnTiles> producer = {s, &call.packed[part_number], &call.tiles,
                                     own_u ? &call.a[part_number] : nullptr, slice};
  if (produces) producer.begin();
  LaneScale<kNested> scale(part, slice, w.blocks);
  if (role == Role::projector && call.projection.R > 0) prefetch_a(call.projection, w.in);
  if ((own_u || split == call.splits - 1) && threadIdx.x < kUnitRows) {
    prefetch_b(part, slice.unit_row + static_cast<int>(threadIdx.x));
  }
  fill_table(table, reinterpret_cast<uint2*>(s.staging), map);
  __syncthreads();
  await_previous();

  if (role != Role::consumer) {
    registers_down<kFewRegisters>();
    if (role == Role::producer) {
      if (produces) producer.run();
    } else if (own_u) {
      project_own<kColumnTiles>(s, slice);
      sync_threads(2, kConsumers + kProjectors);
    } else if (call.projection.R > 0) {
      project(call.projection, call.x, call.ldx, call.m, w.in);
    }
    if (call.splits == 1) return;
    cluster_sync();
    cluster_sync();
  } else {
    registers_up<kManyRegisters>();
    float sums[kColumnTiles][4] = {};
    multiply(sums, s, slice, scale, lane_address(table));
    uint32_t of_b[4];
    if (own_u) load_b(of_b, part, slice.unit_row, 0);
    products_wait<0>();
    hold(sums);
    if (own_u) {
      sync_threads(2, kConsumers + kProjectors);
      add_own(sums, of_b, s.u);
    }
    const bool last = split == call.splits - 1 && call.projection.R > 0;
    if (last && part.rank > 0) {
      add_lora(sums, part, slice.unit_row, call.projection, call.ldx, call.m);
    } else if (last) {
      await_projection(call.projection);
    }
    sync_threads(1, kConsumers);  // the stages are free
    if (last && threadIdx.x == 0) leave_projection(call.projection, w.units);
    float* const sums_of_block = reinterpret_cast<float*>(s.stage);
    store_sums(sums_of_block, sums);
    if (call.splits == 1) {
      sync_threads(1, kConsumers);
      store_share(call, part, slice.unit_row, split, sums_of_block);
      return;
    }
    cluster_sync();
    store_share(call, part, slice.unit_row, split, sums_of_block);
    cluster_sync();  // until the others have read this block's sums
  }
#endif
}

// ---- launches -----------------------------------------------------------------------------------

struct ClusterLaunch {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attributes[2]{};
  ClusterLaunch(int units, int splits, const CudaDevice& device) {
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim.x = static_cast<unsigned>(splits);
    attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3(static_cast<unsigned>(units * splits));
    config.blockDim = dim3(kHopperBlock);
    config.dynamicSmemBytes = kHopperBytes;
    config.stream = device.stream();
    config.attrs = attributes;
    config.numAttrs = device.launches_early() ? 2 : 1;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;
  ClusterLaunch& operator=(const ClusterLaunch&) = delete;
};

// Into how many runs `in` is split, and how many blocks are there at once then.
struct Splits {
  int count = 0, blocks = 0;
};
template <class Kernel>
Splits splits_for(Kernel kernel, int units, int runs, const CudaDevice& device) {
  constexpr int kBesides = 2;  // adding parts takes about as long as two runs
  Splits best;
  int64_t least = INT64_MAX;
  for (int count = 1; count <= std::min(kMostSplits, runs); ++count) {
    ClusterLaunch launch(units, count, device);
    launch.config.numAttrs = 1;  // the cluster
    int clusters = 0;
    const cudaError_t status = cudaOccupancyMaxActiveClusters(&clusters, kernel, &launch.config);
    if (count == 1) check(status, "linear_group_decode: clusters");
    if (status != cudaSuccess) static_cast<void>(cudaGetLastError());  // no clusters of that size
    if (status != cudaSuccess || clusters < 1) continue;
    const int64_t cost =
        ceil_div(units, clusters) * (ceil_div(runs, count) + (count > 1 ? kBesides : 0));
    if (cost >= least) continue;
    least = cost;
    best = {count, std::min(units, clusters) * count};
  }
  return best;
}

// a null: none. Pieces depend on R and on what there is room for, so that a row of U has the same
// bits whatever m is.
Projection projection_of(const act_t* a, int R, act_t* u, int m, int in, int blocks,
                         CudaDevice& device) {
  Projection p = {};
  if (R == 0) return p;
  p.a = a;
  p.u = u;
  p.R = R;
  p.row_tiles = static_cast<int>(ceil_div(R, 16));
  p.tiles = p.row_tiles * static_cast<int>(ceil_div(m, 8));
  p.splits =
      std::max(1, std::min(kProjectors / kWarp * blocks / (p.row_tiles * (kRows / 8)), in / 256));
  p.blocks = blocks;
  p.partial = static_cast<float*>(
      device.scratch(size_t(p.tiles) * p.splits * kProjectTile * sizeof(float)));
  p.tickets = device.tickets(p.tiles + 2);
  return p;
}

template <bool kNested, class Y>
void launch(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, const ops::DecodeGroup& group,
            act_t* u, float beta, CudaDevice& device) {
  const auto kernel = m <= 16   ? hopper_kernel<2, kNested, Y>
                      : m <= 32 ? hopper_kernel<4, kNested, Y>
                                : hopper_kernel<8, kNested, Y>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kHopperBytes),
        "linear_group_decode: shared memory");
  HopperCall<Y> call{};
  call.y = y;
  call.ldy = ldy;
  call.x = x;
  call.ldx = ldx;
  call.m = m;
  call.beta = beta;
  call.w = packed_group(group, kUnitRows);
  for (int p = 0; p < group.num_parts; ++p) {
    const ops::Weight& weight = group.parts[p].w;
    call.packed[p] =
        byte_map(weight.packed, {weight.out, weight.in / 2, weight.in / 2, kUnitRows, kRowBytes});
  }
  const int box_rows = m <= 16 ? 16 : m <= 32 ? 32 : kRows;
  call.tiles = tile_map(x, {m, call.w.in, ldx * int64_t{sizeof(act_t)}, box_rows, kBlockValues});
  const Splits splits = splits_for(kernel, call.w.units, (call.w.blocks + 1) / 2, device);
  call.splits = splits.count;
  int64_t most_ranks = 0;
  for (int p = 0; p < group.num_parts; ++p) most_ranks = std::max(most_ranks, group.parts[p].rank);
  // A block's own U costs by the run, the blocks' common one about as much as eight runs. By the
  // shape alone, so that a row of y has the same bits whatever m is.
  constexpr int kOwnRuns = 8;
  call.own_u =
      most_ranks <= kOwnRank && ceil_div((call.w.blocks + 1) / 2, splits.count) <= kOwnRuns;
  for (int p = 0; call.own_u && p < group.num_parts; ++p) {
    const ops::DecodePart& part = group.parts[p];
    if (part.rank == 0) continue;
    call.a[p] = tile_map(
        group.a + part.rank_offset * call.w.in,
        {part.rank, call.w.in, call.w.in * int64_t{sizeof(act_t)}, kOwnRank, kBlockValues});
  }
  call.projection = projection_of(group.a, static_cast<int>(call.own_u ? 0 : group.rank), u, m,
                                  call.w.in, splits.blocks, device);
  ClusterLaunch at(call.w.units, splits.count, device);
  static_cast<void>(cudaLaunchKernelEx(&at.config, kernel, call, dynamic_map()));
  check_launch("linear_group_decode, many rows on Hopper");
}

// Rows beyond kRows in further launches.
template <class Y>
void product(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
             const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device) {
  const bool nested = group.parts[0].w.absmax == nullptr;
  const auto some = nested ? launch<true, Y> : launch<false, Y>;
  for (int64_t first = 0; first < m; first += kRows) {
    const int rows = static_cast<int>(std::min<int64_t>(m - first, kRows));
    some(y + first * ldy, ldy, x + first * ldx, ldx, rows, group,
         u != nullptr ? u + first * ldx : nullptr, beta, device);
  }
}

}  // namespace

void nf4_hopper_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, u, beta, device);
}

void nf4_hopper_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, u, beta, device);
}

}  // namespace cuda
}  // namespace qlora
