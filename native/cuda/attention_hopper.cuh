// What the Hopper attention kernels share. A block stays on its multiprocessor and takes one tile
// after the other. Its last warpgroup, the producer, copies rows, keys and values into shared
// memory as far ahead as there is room; the others, the consumers, multiply. Two barriers for each
// buffer say "filled" and "free".
#pragma once

#include "attention.cuh"
#include "wgmma.cuh"

namespace qlora {
namespace cuda {

// Tiles of kTile rows, numbered through all segments without gaps. A warp asks for rising numbers;
// all its lanes get the same answer.
template <int kTile>
class TileWalk {
 public:
  // per_token: rows a token has. first_segment: 1 to leave the prefix out.
  __device__ TileWalk(const Tokens& x, int per_token, int first_segment)
      : x_(x), per_token_(per_token), segment_(first_segment) {}

  // False behind the last tile.
  __device__ bool find(int number, Tile& tile) {
    const int lane = threadIdx.x % kWarp;
    for (;; segment_ += kWarp) {
      if (segment_ > x_.S) return false;
      const int s = segment_ + lane;
      const int rows = s <= x_.S ? (x_.end(s) - x_.begin(s)) * per_token_ : 0;
      const int tiles = (rows + kTile - 1) / kTile;
      int through = tiles;  // tiles of this lane's segment and those before
#pragma unroll
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const int left = __shfl_up_sync(kAllLanes, through, offset);
        if (lane >= offset) through += left;
      }
      const unsigned behind = __ballot_sync(kAllLanes, number < before_ + through);
      if (behind != 0) {
        const int owner = __ffs(static_cast<int>(behind)) - 1;
        const int first = __shfl_sync(kAllLanes, before_ + through - tiles, owner);
        tile = {segment_ + owner, int64_t{number - first} * kTile};
        return true;
      }
      before_ += __shfl_sync(kAllLanes, through, kWarp - 1);
    }
  }

 private:
  const Tokens& x_;
  int per_token_, segment_;
  int before_ = 0;  // tiles of the segments before segment_
};

// The producer's side of the barriers: a buffer is announced when the copies into it have landed,
// one buffer after it was filled, so that copies of two buffers are on their way.
class Announcer {
 public:
  // The copies started since the last call were for the buffer behind this barrier.
  __device__ void filled(uint64_t* barrier) {
    copies_commit();
    if (last_ != nullptr) {
      copies_wait<1>();
      announce();
    }
    last_ = barrier;
  }
  __device__ void finish() {
    if (last_ == nullptr) return;
    copies_wait<0>();
    announce();
  }

 private:
  __device__ void announce() {
    fence_for_products();
    __syncwarp();
    if (threadIdx.x % kWarp == 0) barrier_arrive(last_);
  }
  uint64_t* last_ = nullptr;
};

constexpr int kProducerWarps = kWarpgroup / kWarp;

// A consumer warp has read a buffer for the last time.
__device__ inline void release(uint64_t* barrier) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) barrier_arrive(barrier);
}

// The producer's copies; thread: 0 … 127. As load_keys and load_rows.
template <int D, int kKeys>
__device__ inline void produce_keys(act_t* tile, const act_t* from, int64_t ld, int segment_begin,
                                    int before, int first, int count, int thread) {
  constexpr int kChunks = D / 8, kStep = kWarpgroup / kChunks;
  const int chunk = thread % kChunks;
#pragma unroll 4
  for (int row = thread / kChunks; row < kKeys; row += kStep) {
    const int key = first + row;
    const bool valid = key < count;
    const int64_t token = key < before ? key : segment_begin + key - before;
    copy16_async(swizzled<kKeys>(tile, row, chunk), from + (valid ? token * ld + chunk * 8 : 0),
                 valid);
  }
}
template <int D, int kRows>
__device__ inline void produce_rows(act_t* tile, const act_t* from, int64_t ld, const Tokens& x,
                                    int64_t begin, int g, int first, int64_t end, int thread) {
  constexpr int kChunks = D / 8, kStep = kWarpgroup / kChunks;
  const int chunk = thread % kChunks;
#pragma unroll 4
  for (int row = thread / kChunks; row < kRows; row += kStep) {
    const int at = first + row;
    const bool valid = at < end;
    const int64_t token = begin + x.token_of(at), head = g * x.ratio + x.head_of(at);
    copy16_async(swizzled<kRows>(tile, row, chunk),
                 from + (valid ? token * ld + head * D + chunk * 8 : 0), valid);
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
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    wgmma_64<false>(sums, a[c], operand(tile + c / 4 * (64 * 64) + c % 4 * 16), c > 0);
  }
}
// sums [64, D] += a [64, 64] · tile
__device__ inline void add_product(float (*sums)[4], const uint32_t (*a)[4], const act_t* tile) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    wgmma_128<true>(sums, a[k], operand_transposed<64>(tile + k * 16 * 64), true);
  }
}

}  // namespace cuda
}  // namespace qlora
