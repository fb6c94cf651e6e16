// What the Hopper attention kernels share. A block stays on its multiprocessor and takes one tile
// after the other. Its last warpgroup, the producer, copies rows, keys and values into shared
// memory as far ahead as there is room; the others, the consumers, multiply. Two barriers for each
// buffer say "filled", by the copies themselves as they land, and "free".
#pragma once

#include "attention.cuh"
#include "wgmma.cuh"

namespace qlora {
namespace cuda {

// Which end of a segment holds its longest tiles: rows at the end see the most keys, keys at the
// begin are seen by the most rows.
enum class Longest { last, first };

// All segments' tiles of kTile rows, the longest of every segment first, then their second longest,
// and so on. A warp asks for rising numbers; all its lanes get the same answer.
template <int kTile, Longest kLongest>
class TileWalk {
 public:
  // per_token: rows a token has. first_segment: 1 to leave the prefix out.
  __device__ TileWalk(const Tokens& x, int per_token, int first_segment)
      : x_(x), per_token_(per_token), first_segment_(first_segment), segment_(first_segment) {}

  // False behind the last tile.
  __device__ bool find(int number, Tile& tile) {
    const int lane = threadIdx.x % kWarp;
    for (;;) {
      const int s = segment_ + lane;
      const int rows = s <= x_.S ? (x_.end(s) - x_.begin(s)) * per_token_ : 0;
      const int tiles = (rows + kTile - 1) / kTile;
      const unsigned holders = __ballot_sync(kAllLanes, tiles > rank_);
      found_ = found_ || holders != 0;
      const int skip = number - before_;
      if (skip < __popc(holders)) {
        const bool owner = tiles > rank_ && __popc(holders & ((1u << lane) - 1)) == skip;
        const int at = __ffs(static_cast<int>(__ballot_sync(kAllLanes, owner))) - 1;
        const int owner_tiles = __shfl_sync(kAllLanes, tiles, at);
        const int index = kLongest == Longest::last ? owner_tiles - 1 - rank_ : rank_;
        tile = {segment_ + at, int64_t{index} * kTile};
        return true;
      }
      before_ += __popc(holders);
      segment_ += kWarp;
      if (segment_ <= x_.S) continue;
      if (!found_) return false;
      found_ = false;
      segment_ = first_segment_;
      ++rank_;
    }
  }

 private:
  const Tokens& x_;
  int per_token_, first_segment_;
  int segment_, rank_ = 0;  // looked at now
  int before_ = 0;          // tiles before those
  bool found_ = false;      // any of this rank
};

// The block's task in a round. Tasks come longest first; every second round is dealt backwards, so
// that all blocks get much the same sum.
__device__ inline int task_of(int round) {
  const int place = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
  return round * static_cast<int>(gridDim.x) + place;
}

// Among the four warps of a consumer.
__device__ inline void sync_warpgroup() { sync_threads(1 + threadIdx.x / kWarpgroup, kWarpgroup); }

// A consumer's thread has read or written a buffer for the last time: kConsumers · kWarpgroup
// arrivals free it. An arrival orders its own thread's accesses; that of one lane for its warp
// would do behind a __syncwarp, but racecheck does not follow it.
__device__ inline void release(uint64_t* barrier) { barrier_arrive(barrier); }

// The same for a buffer that products alone have read: an arrival for each warp.
__device__ inline void release_product(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) barrier_arrive(barrier);
}

// Waits until a buffer is filled, for products too.
__device__ inline void wait_filled(uint64_t* barrier, int parity) {
  barrier_wait(barrier, parity);
  fence_for_products();
}

// The producer's copies; thread: 0 … 127. It copies a chunk of 16 bytes of every eighth row: all
// are permuted alike. Chunks are counted in 32 bits, which reach 64 GB.
constexpr int kProducerStep = 8;  // rows

// As load_keys, for keys and their values, which lie `to_values` elements behind.
template <int D, int kKeys>
__device__ inline void produce_keys(act_t* k, act_t* v, const act_t* from, int64_t ld,
                                    int to_values, int segment_begin, int before, int first,
                                    int count, int thread) {
  constexpr int kChunks = D / 8;
  static_assert(kWarpgroup / kChunks == kProducerStep, "heads of 128");
  const int chunk = thread % kChunks, row = thread / kChunks;
  act_t* const k_row = swizzled<kKeys>(k, row, chunk);
  act_t* const v_row = swizzled<kKeys>(v, row, chunk);
  const uint4* const k_chunks = reinterpret_cast<const uint4*>(from);
  const uint4* const v_chunks = reinterpret_cast<const uint4*>(from + to_values);
  const uint32_t stride = static_cast<uint32_t>(ld / 8);
#pragma unroll
  for (int i = 0; i < kKeys; i += kProducerStep) {
    const int key = first + row + i;
    const bool valid = key < count;
    const uint32_t token = key < before ? key : segment_begin - before + key;
    const uint32_t at = valid ? token * stride + chunk : 0;
    copy16_async(k_row + i * 64, k_chunks + at, valid);
    copy16_async(v_row + i * 64, v_chunks + at, valid);
  }
}

// A matrix whose rows a tile takes.
struct RowSource {
  act_t* tile;
  const act_t* from;
  int64_t ld;
};

// As load_rows, for tiles of the same rows of several matrices.
template <int D, int kRows, int kSources>
__device__ inline void produce_rows(const RowSource (&sources)[kSources], const Tokens& x,
                                    int begin, int g, int first, int64_t end, int thread) {
  constexpr int kChunks = D / 8;
  static_assert(kWarpgroup / kChunks == kProducerStep, "heads of 128");
  const int chunk = thread % kChunks, row = thread / kChunks;
#pragma unroll 4
  for (int i = 0; i < kRows; i += kProducerStep) {
    const int at = first + row + i;
    const bool valid = at < end;
    const uint32_t token = begin + x.token_of(at);
    const uint32_t column = (g * x.ratio + x.head_of(at)) * kChunks + chunk;
#pragma unroll
    for (const RowSource& source : sources) {
      const uint32_t stride = static_cast<uint32_t>(source.ld / 8);
      const uint32_t from = valid ? token * stride + column : 0;
      copy16_async(swizzled<kRows>(source.tile, row, chunk) + i * 64,
                   reinterpret_cast<const uint4*>(source.from) + from, valid);
    }
  }
}

// Rows [row, row + 16) of a tile as fragments a of all its columns.
template <int D, int kRows>
__device__ inline void fragments_of_rows(uint32_t (*a)[4], const act_t* tile, int row) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    load_matrices(a[c], swizzled<kRows>(tile, row + lane % 16, 2 * c + lane / 16));
  }
}

// A warp's sums [16, D], times `scale` of their row, as bf16 in rows [row, row + 16) of a tile that
// no other warp uses.
template <int D, int kRows>
__device__ inline void stage_rows(act_t* tile, int row, const float (*sums)[4],
                                  const float scale[2]) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<uint32_t*>(swizzled<kRows>(tile, row + g + 8 * half, n) + 2 * t) =
          pack_bf16(sums[n][2 * half] * scale[half], sums[n][2 * half + 1] * scale[half]);
    }
  }
  __syncwarp();
}

// sums = a · tileᵀ [64, 64], the rows a of a warpgroup as fragments of all D columns.
template <int D>
__device__ inline void multiply_keys(float (*sums)[4], const uint32_t (*a)[4], const act_t* tile) {
  const Operand b = operand(tile);
#pragma unroll
  for (int c = 0; c < D / 16; ++c) wgmma_64<false>(sums, a[c], b + column_bytes<64>(c), c > 0);
}
// The same with a in shared memory too: 64 rows of a tile of kRows.
template <int D, int kRows>
__device__ inline void multiply_tiles(float (*sums)[4], const act_t* rows, const act_t* tile) {
  const Operand a = operand(rows), b = operand(tile);
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    wgmma_64(sums, a + column_bytes<kRows>(c), b + column_bytes<64>(c), c > 0);
  }
}
// sums [64, 128] += a [64, 64] · tile
__device__ inline void add_product(float (*sums)[4], const uint32_t (*a)[4], const act_t* tile) {
  const Operand b = operand_transposed<64>(tile);
#pragma unroll
  for (int k = 0; k < 4; ++k) wgmma_128<true>(sums, a[k], b + k * 16 * 128, true);
}

}  // namespace cuda
}  // namespace qlora
