// What the backward kernels of mma.sync and of Hopper share: their arguments, and how the prefix's
// keys are cut into tasks.
#pragma once

#include "attention.cuh"

namespace qlora {
namespace cuda {

struct Gradients {
  act_t* dqkv;
  int64_t ld_dqkv;
  const act_t* dout;
  int64_t ld_dout;
  const float* lse;
  const float* delta;  // [Q, T]
  const act_t* qkv;
  int64_t ld;
  float scale;
};

// The prefix's keys in tiles, the tokens in `parts` runs of part_tokens. With one part the sums go
// straight to dqkv, else to sums [parts, G, 2 (dk, dv), rows, D].
struct PrefixPlan {
  int tiles, parts, part_tokens;
  int rows;  // a multiple of kPrefixKeys
};
constexpr int64_t kPrefixKeys = 128;  // the largest tile

// Which keys a block owns and which rows it walks over, all counted from token `begin`.
struct KeyTask {
  int g, begin, first_key, keys;  // keys: of the segment
  int first_row, end_row;
  int sums_row;  // of the partial sums: where dk of the tile begins; or −1
};

__device__ inline KeyTask prefix_task(const Tokens& x, const PrefixPlan& prefix, int number,
                                      int tile_keys) {
  const int g = number % x.G, tile = number / x.G % prefix.tiles;
  const int part = number / x.G / prefix.tiles;
  KeyTask task;
  task.g = g;
  task.begin = 0;
  task.first_key = tile * tile_keys;
  task.keys = x.P;
  task.first_row = max(part * prefix.part_tokens, task.first_key) * x.ratio;
  task.end_row = min((part + 1) * prefix.part_tokens, x.T) * x.ratio;
  task.sums_row = prefix.parts == 1 ? -1 : (part * x.G + g) * 2 * prefix.rows + task.first_key;
  return task;
}

// A warp's 16 keys as fp32, `rows` apart from dk to dv.
template <int D>
__device__ inline void store_partial(float* to, const float (*dk)[4], const float (*dv)[4],
                                     int64_t rows, float scale) {
  const int lane = threadIdx.x % kWarp;
  float* const k_row = to + lane / 4 * D + lane % 4 * 2;
  float* const v_row = k_row + rows * D;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = half * 8 * D + n * 8;
      *reinterpret_cast<float2*>(k_row + at) =
          make_float2(dk[n][2 * half] * scale, dk[n][2 * half + 1] * scale);
      *reinterpret_cast<float2*>(v_row + at) = make_float2(dv[n][2 * half], dv[n][2 * half + 1]);
    }
  }
}

// attention_backward_hopper.cu: for heads of 128, 16-byte aligned rows. dq, dk and dv; the prefix's
// partial sums are left to the caller.
PrefixPlan plan_prefix(const ops::AttentionShape& shape, int64_t tile_keys);
void launch_backward_hopper(const Gradients& x, const ops::AttentionShape& shape,
                            const PrefixPlan& prefix, float* sums, CudaDevice& device);
constexpr int64_t kHopperTileKeys = 128;

}  // namespace cuda
}  // namespace qlora
