// What the LoRA kernels share. They read a long matrix of activations once, in pieces a warp at a
// time: 16 tokens by 32 columns, of which lane 4g + t owns columns 8t … 8t + 7 of tokens g and g +
// 8, one 16-byte access and one call of Philox each. mma.m16n8k16 wants pairs of columns 2t, 2t + 1
// of four 8-column tiles; which columns those are is ours to say, so pair j of a lane's eight
// columns plays the part of tile j's: nothing is moved between lanes.
//
// A lane copies what it owns to shared memory asynchronously, kStages pieces ahead, and reads it
// back itself.
#pragma once

#include <algorithm>

#include "common.cuh"
#include "dropout_mask.cuh"
#include "mma.cuh"

namespace qlora {
namespace cuda {

constexpr int64_t kMostRanks = 64;  // of one pass; more ranks take more passes

// Eight columns at `from` to shared memory: all of them, the first `inside` of them where rows do
// not begin on 16 bytes (or less than eight are left), or zeros where inside ≤ 0. Nothing is read
// behind.
template <bool kAligned>
__device__ inline void stage8(uint4* shared, const act_t* from, int inside) {
  if (kAligned) {
    copy16_async(shared, from, inside > 0);
  } else {
    *shared = inside > 0 ? pack8(load_first8(from, inside)) : make_uint4(0, 0, 0, 0);
  }
}

__device__ inline uint32_t word_of(const uint4& x, int i) {
  return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
}

// Tiles of `steps` steps each, laid end to end and cut into equal stretches, one a block: no block
// has more than a step more than another, whatever the sizes. A tile may thus be the work of
// several blocks, whose partial sums are added in the order of the blocks.
struct Split {
  int units;  // steps of all tiles: of thousands of elements each
  int steps, blocks;

  __device__ int begin(int block) const {
    return static_cast<int>(int64_t{block} * units / blocks);
  }
  // The block that has a step in its stretch.
  __device__ int block_of(int unit) const {
    return static_cast<int>(((int64_t{unit} + 1) * blocks - 1) / units);
  }
};

// For at most `slots` blocks, those that run at a time.
inline Split split_evenly(int64_t tiles, int64_t steps, int64_t slots) {
  constexpr int64_t kLeast = 4;  // steps worth a block's beginning and end
  const int64_t units = tiles * steps;
  const int64_t blocks = std::max<int64_t>(1, std::min(slots, units / kLeast));
  return {static_cast<int>(units), static_cast<int>(steps), static_cast<int>(blocks)};
}

// Room for partial sums: cuBLASLt's workspace, which no product needs while one of these ops runs.
inline float* partial_sums(int64_t count, CudaDevice& device) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  return static_cast<float*>(bytes <= CudaDevice::kBlasWorkspaceBytes ? device.blas_workspace()
                                                                      : device.scratch(bytes));
}

// Blocks that run at a time: `most` a multiprocessor, or as many as it has shared memory for.
inline int64_t resident_blocks(int64_t most, size_t shared_bytes, const CudaDevice& device) {
  const int64_t fit = device.max_shared_bytes() / static_cast<int64_t>(shared_bytes);
  return int64_t{device.sm_count()} * std::max<int64_t>(1, std::min(most, fit));
}

}  // namespace cuda
}  // namespace qlora
