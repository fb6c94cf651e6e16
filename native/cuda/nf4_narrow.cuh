// The parts of nf4_decode_narrow.cu's kernel: which rows of w a tile is, the scales of its blocks
// of 64, and U = x · Aᵀ by all blocks of a launch together.
#pragma once

#include "barriers.cuh"
#include "common.cuh"
#include "nf4_lookup.cuh"

namespace qlora {
namespace cuda {
namespace narrow {

constexpr int kWarps = 8;                     // that multiply
constexpr int kBlock = (kWarps + 1) * kWarp;  // and one that helps them
constexpr int kRuns = 4;  // of 128 columns, that a warp has loaded ahead: its part of a segment
constexpr int kSegmentRuns = kWarps * kRuns;
constexpr int kSegmentBlocks = 2 * kSegmentRuns;  // of 64 columns
constexpr int kSegmentBytes = kSegmentBlocks * (kBlockValues / 2);
constexpr int kSlots = 2;  // of segments' scales, of tiles' sums

struct Call {
  void* y;
  int64_t ldy;
  bool y_is_float;
  float beta;
  const act_t* x;  // the residual, where there is a norm
  int64_t ldx;
  int m;
  int x_ld;           // of x in shared memory; 0: it stays where it is
  const float* norm;  // null: x is given
  float eps;
  bool paired;  // y = silu(part 0) · part 1; a tile is 8 rows of each
  bool quads;   // scales of four blocks begin on an aligned word
  // U: `ranks` rows of a, each in `splits` slices of `slice` columns.
  const act_t* a;
  int ranks, splits, slice;
  float* partial;     // [splits, m, ranks]
  unsigned* tickets;  // blocks that have come with their part of U, that have left with U

  __host__ __device__ int tile_rows() const { return paired ? kTile / 2 : kTile; }
  __host__ __device__ int shares() const { return (ranks + kWarps - 1) / kWarps * splits; }
};

// Row i of a tile: a row of a part, or behind its last row that one again.
struct Place {
  int part, row;
  bool inside;
};
__device__ inline Place place_of(const PackedGroup& w, bool paired, int tile, int i) {
  int part, row;
  if (paired) {
    part = i / (kTile / 2);
    row = tile * (kTile / 2) + i % (kTile / 2);
  } else {
    part = part_of(w, tile);
    row = (tile - w.part[part].first_unit) * kTile + i;
  }
  const int out = w.part[part].out;
  return {part, min(row, out - 1), row < out};
}

__device__ inline const uint8_t* row_of(const PackedGroup& w, const Place& place) {
  return w.part[place.part].packed + int64_t{place.row} * (w.in / 2);
}

// ---- scales -------------------------------------------------------------------------------------
// A segment's absmax, as the multiplying lanes read them: of block b and rows r and r + 8 together,
// blocks 16 words apart and four of them another 16, so that neither side meets a bank twice.

constexpr int kScaleWords = 16 * (kSegmentBlocks + kSegmentBlocks / 4);
__host__ __device__ constexpr int scale_word(int block, int row) {
  return 16 * (block + block / 4) + row % 8 * 2 + row / 8;
}

// What the multiplying warps get of a segment: its scales, and where the rows of the next segment
// begin, null behind the last.
struct Segment {
  float scales[kScaleWords];
  const uint8_t* next[kTile];
};

// Of one warp: fetches the scales of a segment a turn before they are wanted. A lane has row
// lane % 16 and, of each eight blocks, four.
struct ScaleLoader {
  static constexpr int kQuads = kSegmentBlocks / 8;
  const PackedGroup& w;
  const Call& call;
  int tile, segment;
  uint2 held[kQuads];  // four codes and their absmax2
  Place place;

  __device__ void begin(int first) {
    tile = first;
    segment = 0;
    if (tile < w.units) place = place_of(w, call.paired, tile, threadIdx.x % kTile);
    fetch();
  }
  __device__ int block_of(int i) const {
    return segment * kSegmentBlocks + i * 8 + threadIdx.x % kWarp / 16 * 4;
  }
  __device__ void fetch() {
    if (tile >= w.units || !call.quads) return;
    const PackedPart& part = w.part[place.part];
    if (part.absmax != nullptr) return;
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      held[i] = make_uint2(0, 0);
      if (block_of(i) >= w.blocks) continue;
      const int at = place.row * w.blocks + block_of(i);
      held[i].x = __ldg(reinterpret_cast<const unsigned*>(part.codes + at));
      held[i].y = __float_as_uint(__ldg(part.absmax2 + at / static_cast<int>(kAbsmaxBlock)));
    }
  }
  // One by one, where blocks of a row are not a multiple of four.
  __device__ float scale_at(int block, uint32_t lane_at) const {
    if (block >= w.blocks) return 0.0f;
    const PackedPart& part = w.part[place.part];
    const int at = place.row * w.blocks + block;
    if (part.absmax != nullptr) return __ldg(part.absmax + at);
    const float scale = __ldg(part.absmax2 + at / static_cast<int>(kAbsmaxBlock));
    return __fadd_rn(__fmul_rn(look_up_map(__ldg(part.codes + at), lane_at), scale), part.offset);
  }
  // Writes the segment's and goes to the next.
  __device__ void store(Segment& to, uint32_t lane_at) {
    const PackedPart& part = w.part[place.part];
    const int row = threadIdx.x % kTile;
    const bool nested = part.absmax == nullptr;
    const float offset = part.offset;
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      float of[4];
      const int in_segment = block_of(i) - segment * kSegmentBlocks;
      if (!call.quads) {
#pragma unroll
        for (int j = 0; j < 4; ++j) of[j] = scale_at(block_of(i) + j, lane_at);
      } else if (nested) {
        const float scale = __uint_as_float(held[i].y);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float value = look_up_map(held[i].x >> 8 * j & 255, lane_at);
          of[j] = __fadd_rn(__fmul_rn(value, scale), offset);
        }
      } else {
        const int at = place.row * w.blocks + block_of(i);
        const float4 four = block_of(i) < w.blocks
                                ? __ldg(reinterpret_cast<const float4*>(part.absmax + at))
                                : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        of[0] = four.x, of[1] = four.y, of[2] = four.z, of[3] = four.w;
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) to.scales[scale_word(in_segment + j, row)] = of[j];
    }
    const int segments = (w.blocks + kSegmentBlocks - 1) / kSegmentBlocks;
    if (++segment == segments) {
      segment = 0;
      tile += static_cast<int>(gridDim.x);
      if (tile < w.units) place = place_of(w, call.paired, tile, row);
    }
    to.next[row] = tile < w.units ? row_of(w, place) + segment * kSegmentBytes : nullptr;
    fetch();
  }
};

// Brings w of the segments a block will come to near, some ahead: of one warp, a row a lane.
struct NearBringer {
  static constexpr int kAhead = 4;  // segments: 128 KB, 4 µs of a multiprocessor's share
  const PackedGroup& w;
  const Call& call;
  int tile, segment;

  __device__ void bring() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (tile >= w.units) return;
    const int i = threadIdx.x % kWarp, row_bytes = w.in / 2;
    const int begin = segment * kSegmentBytes;
    if (i < kTile) {
      const Place place = place_of(w, call.paired, tile, i);
      const uint8_t* const from = row_of(w, place) + begin;
      const int bytes = min(row_bytes - begin, kSegmentBytes);
      if (place.inside) {
        asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes)
                     : "memory");
      }
    }
    const int segments = (w.blocks + kSegmentBlocks - 1) / kSegmentBlocks;
    if (++segment < segments) return;
    segment = 0;
    tile += static_cast<int>(gridDim.x);
#endif
  }
};

// ---- U ------------------------------------------------------------------------------------------
// Block b < shares() takes kWarps rows of A, a warp each, and one slice of the columns. The sums go
// to memory; every block reads all of them, in the order of the slices, when it first needs U.
// Blocks wait for one another: all of a launch run at a time, since it has no more than there are
// multiprocessors, and a later kernel begins only when all of them have begun.

struct Share {
  int row, begin, end;  // of A; columns
  uint4 first;          // a lane's first eight columns

  __device__ void load(const Call& call, int in) {
    const int groups = (call.ranks + kWarps - 1) / kWarps, share = blockIdx.x;
    row = share % max(groups, 1) * kWarps + threadIdx.x / kWarp;
    begin = end = 0;
    if (share >= call.shares() || row >= call.ranks) return;
    begin = share / groups * call.slice;
    end = min(begin + call.slice, in);
    const int column = begin + static_cast<int>(threadIdx.x) % kWarp * 8;
    first = make_uint4(0, 0, 0, 0);
    if (column < end)
      first = __ldg(reinterpret_cast<const uint4*>(call.a + int64_t{row} * in + column));
  }
  // x: in shared or global memory.
  __device__ void project(const Call& call, int in, const act_t* x, int64_t ldx) const {
    if (end == 0) return;
    const int lane = threadIdx.x % kWarp, split = begin / call.slice;
    for (int n = 0; n < call.m; ++n) {
      float sum = 0.0f;
      for (int column = begin + lane * 8; column < end; column += kWarp * 8) {
        const bool is_first = column == begin + lane * 8;
        const Float8 left = unpack8(
            is_first ? first
                     : __ldg(reinterpret_cast<const uint4*>(call.a + int64_t{row} * in + column)));
        const Float8 right = load8(x + n * ldx + column);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum = fmaf(left.v[i], right.v[i], sum);
      }
      sum = warp_sum(sum);
      if (lane == 0) call.partial[(int64_t{split} * call.m + n) * call.ranks + row] = sum;
    }
  }
};

__device__ inline unsigned load_acquire(const unsigned* p) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
}

// Of one warp: u [m, ranks] in shared memory. own: complete when this block's part is written.
__device__ inline void gather_u(float* u, const Call& call, uint64_t* own) {
  const unsigned shares = static_cast<unsigned>(call.shares());
  const int lane = threadIdx.x % kWarp;
  if (lane == 0) {
    if (blockIdx.x < shares) {
      barrier_wait(own, 0);
      __threadfence();
      atomicAdd(call.tickets, 1u);
    }
    while (load_acquire(call.tickets) < shares) {
    }
    if (atomicAdd(call.tickets + 1, 1u) == gridDim.x - 1) call.tickets[0] = call.tickets[1] = 0;
    __threadfence();
  }
  __syncwarp();
  const int count = call.m * call.ranks;
  for (int i = lane; i < count; i += kWarp) {
    float sum = 0.0f;
#pragma unroll 16
    for (int s = 0; s < call.splits; ++s) sum += __ldcg(call.partial + int64_t{s} * count + i);
    u[i] = sum;
  }
  __syncwarp();
}

}  // namespace narrow
}  // namespace cuda
}  // namespace qlora
