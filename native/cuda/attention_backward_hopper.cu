// attention_backward on Hopper: the same sums as attention_backward.cu, by warpgroup products.
// dq: a block takes 128 rows at a time, 64 for each of its two consumer warpgroups, and walks over
// their keys 64 at a time. dk, dv: a block takes 128 keys at a time, 64 for each consumer, and
// walks over the rows that see them, 64 at a time; the prefix's keys with a part of the rows. The
// elementwise work of one consumer runs beside the other's products.
#include <algorithm>

#include "attention_backward.cuh"
#include "attention_hopper.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int D = 128;
constexpr int kConsumers = 2;  // warpgroups
constexpr int kBlock = (kConsumers + 1) * kWarpgroup;
constexpr int kAlignment = 1024;

template <class Buffers>
__device__ inline Buffers& aligned_buffers(uint8_t* shared) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(shared);
  return *reinterpret_cast<Buffers*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

// ---- dq -----------------------------------------------------------------------------------------

constexpr int kDqRows = 64 * kConsumers;
constexpr int kDqKeys = 64;  // of a stage
constexpr int kDqStages = 4;

struct DqBuffers {
  act_t k[kDqStages][kDqKeys * D], v[kDqStages][kDqKeys * D];
  act_t q[kDqRows * D], dout[kDqRows * D];
  act_t dq[kDqRows * D];
};
constexpr int kDqShared = sizeof(DqBuffers) + kAlignment;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr int kConsumerWarps = kConsumers * kWarpgroup / kWarp;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;

struct DqBarriers {
  uint64_t filled[kDqStages], free[kDqStages], rows_filled, rows_free;
};

struct DqTask {
  int g, begin, before, first, last;
  int64_t end;
  int keys;

  __device__ DqTask(const Tokens& x, const Tile& tile, int key_head) : g(key_head) {
    begin = x.begin(tile.segment);
    before = x.before(tile.segment);
    first = static_cast<int>(tile.first);
    end = int64_t{x.end(tile.segment) - begin} * x.ratio;
    last = static_cast<int>(end - first < kDqRows ? end : first + kDqRows) - 1;
    keys = before + x.token_of(last) + 1;
  }
};

__device__ inline void produce_dq(const Gradients& x, const Tokens& tokens, DqBuffers& buffers,
                                  DqBarriers& barriers) {
  const int thread = threadIdx.x % kWarpgroup;
  TileWalk<kDqRows, Longest::last> walk(tokens, tokens.ratio, 0);
  int filled = 0;
  Tile tile;
  for (int round = 0; walk.find(task_of(round) / tokens.G, tile); ++round) {
    const DqTask task(tokens, tile, task_of(round) % tokens.G);
    const act_t* const k = x.qkv + (int64_t{tokens.Q} + task.g) * D;
    barrier_wait(&barriers.rows_free, ~round & 1);
    produce_rows<D, kDqRows>({{buffers.q, x.qkv, x.ld}, {buffers.dout, x.dout, x.ld_dout}}, tokens,
                             task.begin, task.g, task.first, task.end, thread);
    barrier_arrive_by_copies(&barriers.rows_filled);
    for (int key = 0; key < task.keys; key += kDqKeys, ++filled) {
      const int stage = filled % kDqStages;
      barrier_wait(&barriers.free[stage], ~(filled / kDqStages) & 1);
      produce_keys<D, kDqKeys>(buffers.k[stage], buffers.v[stage], k, x.ld, tokens.G * D,
                               task.begin, task.before, key, task.keys, thread);
      barrier_arrive_by_copies(&barriers.filled[stage]);
    }
  }
  copies_wait_all();
}

// s: scores of rows g and g + 8 of a warp, becomes p; 0 for keys a row does not see.
__device__ inline void scores_to_p(float (*s)[4], const float lse_log2[2], const int limit[2],
                                   int first_key, bool masked, float scale_log2) {
  const int column = first_key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < kDqKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      s[n][i] = exp2_approx(fmaf(s[n][i], scale_log2, -lse_log2[i / 2]));
    }
  }
  if (!masked) return;
#pragma unroll
  for (int n = 0; n < kDqKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + n * 8 + i % 2 > limit[i / 2]) s[n][i] = 0.0f;
    }
  }
}

__device__ inline void consume_dq(const Gradients& x, const Tokens& tokens, DqBuffers& buffers,
                                  DqBarriers& barriers) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int group_row = warp / 4 * 64, warp_row = warp * 16;
  const float scale_log2 = x.scale * kLog2e;
  TileWalk<kDqRows, Longest::last> walk(tokens, tokens.ratio, 0);
  int used = 0;  // buffers of keys since the start
  Tile tile;
  for (int round = 0; walk.find(task_of(round) / tokens.G, tile); ++round) {
    const DqTask task(tokens, tile, task_of(round) % tokens.G);
    // The warpgroup may be done before the block: its rows see fewer keys, or there are none.
    const int group_last = min(task.last, task.first + group_row + 63);
    const int group_keys =
        task.first + group_row <= task.last ? task.before + tokens.token_of(group_last) + 1 : 0;
    const int group_end = used + (group_keys + kDqKeys - 1) / kDqKeys;
    const int end = used + (task.keys + kDqKeys - 1) / kDqKeys;

    float lse_log2[2], delta[2];
    int limit[2];  // the last key seen
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = task.first + warp_row + lane / 4 + 8 * half;
      const bool valid = row <= task.last;
      const int64_t head = task.g * tokens.ratio + tokens.head_of(row);
      const int64_t i = valid ? head * tokens.T + task.begin + tokens.token_of(row) : 0;
      limit[half] = task.before + tokens.token_of(row);
      lse_log2[half] = valid ? x.lse[i] * kLog2e : 0.0f;
      delta[half] = valid ? x.delta[i] : 0.0f;
    }
    const int warp_limit = task.before + tokens.token_of(task.first + warp_row);

    uint32_t q[D / 16][4], dout[D / 16][4];
    barrier_wait(&barriers.rows_filled, round & 1);
    fragments_of_rows<D, kDqRows>(q, buffers.q, warp_row);
    fragments_of_rows<D, kDqRows>(dout, buffers.dout, warp_row);
    release(&barriers.rows_free);

    float dq[D / 8][4] = {}, s[kDqKeys / 8][4], dp[kDqKeys / 8][4];
    uint32_t ds[kDqKeys / 16][4];
    const int start = used;
    for (; used < group_end; ++used) {
      const int stage = used % kDqStages, first_key = (used - start) * kDqKeys;
      wait_filled(&barriers.filled[stage], used / kDqStages & 1);
      hold(s);
      hold(dp);
      products_begin();
      multiply_keys<D>(s, q, buffers.k[stage]);
      products_commit();
      multiply_keys<D>(dp, dout, buffers.v[stage]);
      products_commit();
      products_wait<1>();
      hold(s);
      hold(dq);
      if (used > start) release_product(&barriers.free[(used - 1) % kDqStages]);
      scores_to_p(s, lse_log2, limit, first_key, first_key + kDqKeys - 1 > warp_limit, scale_log2);
      hold(s);
      products_wait<0>();
      hold(dp);
#pragma unroll
      for (int n = 0; n < kDqKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] *= dp[n][i] - delta[i / 2];
      }
#pragma unroll
      for (int k = 0; k < kDqKeys / 16; ++k) to_fragment_a(ds[k], s[2 * k], s[2 * k + 1]);
      hold(dq);
      products_begin();
      add_product(dq, ds, buffers.k[stage]);
      products_commit();
    }
    products_wait<0>();
    hold(dq);
    if (used > start) {
      release_product(&barriers.free[(used - 1) % kDqStages]);
      const float scale[2] = {x.scale, x.scale};
      stage_rows<D, kDqRows>(buffers.dq, warp_row, dq, scale);
#pragma unroll 4
      for (int i = lane; i < 16 * (D / 8); i += kWarp) {
        const int row = warp_row + i / (D / 8), chunk = i % (D / 8), at = task.first + row;
        if (at > task.last) continue;
        const int64_t token = task.begin + tokens.token_of(at);
        const int64_t head = task.g * tokens.ratio + tokens.head_of(at);
        *reinterpret_cast<uint4*>(x.dqkv + token * x.ld_dqkv + head * D + chunk * 8) =
            *reinterpret_cast<const uint4*>(swizzled<kDqRows>(buffers.dq, row, chunk));
      }
      __syncwarp();
    }
    for (; used < end; ++used) {
      barrier_wait(&barriers.filled[used % kDqStages], used / kDqStages & 1);
      release_product(&barriers.free[used % kDqStages]);
    }
  }
}
#endif

// Empty but for machine code of sm_90a; can_run_hopper sees which was built.
__global__ void __launch_bounds__(kBlock, 1) dq_hopper_kernel(Gradients x, Tokens tokens) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ DqBarriers barriers;
  DqBuffers& buffers = aligned_buffers<DqBuffers>(shared);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kDqStages; ++stage) {
      barrier_init(&barriers.filled[stage], kWarpgroup);
      barrier_init(&barriers.free[stage], kConsumerWarps);
    }
    barrier_init(&barriers.rows_filled, kWarpgroup);
    barrier_init(&barriers.rows_free, kConsumers * kWarpgroup);
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers * kWarpgroup) {
    registers_down<kProducerRegisters>();
    produce_dq(x, tokens, buffers, barriers);
  } else {
    registers_up<kConsumerRegisters>();
    consume_dq(x, tokens, buffers, barriers);
  }
#endif
}

// ---- dk, dv -------------------------------------------------------------------------------------

constexpr int kTileKeys = 64 * kConsumers;
constexpr int kStepRows = 64;
constexpr int kKeyStages = 3;
static_assert(kTileKeys == kHopperTileKeys && kPrefixKeys % kTileKeys == 0, "the prefix's plan");

struct KeyBuffers {
  act_t q[kKeyStages][kStepRows * D], dout[kKeyStages][kStepRows * D];
  act_t k[2][kTileKeys * D], v[2][kTileKeys * D];
  float lse[kKeyStages][kStepRows], delta[kKeyStages][kStepRows];
};
constexpr int kKeyShared = sizeof(KeyBuffers) + kAlignment;

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
struct KeyBarriers {
  uint64_t filled[kKeyStages], free[kKeyStages], keys_filled[2], keys_free[2];
};

// The prefix's tiles with each part of the rows, then the sequences' tiles.
class KeyTaskWalk {
 public:
  __device__ KeyTaskWalk(const Tokens& x, const PrefixPlan& prefix)
      : x_(x), prefix_(prefix), walk_(x, 1, 1) {}

  __device__ bool find(int number, KeyTask& task) {
    const int prefix_tasks = prefix_.tiles * prefix_.parts * x_.G;
    if (number < prefix_tasks) {
      task = prefix_task(x_, prefix_, number, kTileKeys);
      return true;
    }
    number -= prefix_tasks;
    Tile tile;
    if (!walk_.find(number / x_.G, tile)) return false;
    task.g = number % x_.G;
    task.begin = x_.begin(tile.segment);
    task.keys = x_.end(tile.segment) - task.begin;
    task.first_key = static_cast<int>(tile.first);
    task.first_row = task.first_key * x_.ratio;
    task.end_row = task.keys * x_.ratio;
    task.sums_row = -1;
    return true;
  }

 private:
  const Tokens& x_;
  const PrefixPlan& prefix_;
  TileWalk<kTileKeys, Longest::first> walk_;
};

__device__ inline void produce_key_rows(const Gradients& x, const Tokens& tokens,
                                        const PrefixPlan& prefix, KeyBuffers& buffers,
                                        KeyBarriers& barriers) {
  const int thread = threadIdx.x % kWarpgroup;
  KeyTaskWalk walk(tokens, prefix);
  int filled = 0;
  KeyTask task;
  for (int round = 0; walk.find(task_of(round), task); ++round) {
    const act_t* const k = x.qkv + (int64_t{tokens.Q} + task.g) * D;
    const int side = round % 2;
    barrier_wait(&barriers.keys_free[side], ~(round / 2) & 1);
    produce_keys<D, kTileKeys>(buffers.k[side], buffers.v[side], k, x.ld, tokens.G * D, task.begin,
                               0, task.first_key, task.keys, thread);
    barrier_arrive_by_copies(&barriers.keys_filled[side]);
    for (int row = task.first_row; row < task.end_row; row += kStepRows, ++filled) {
      const int stage = filled % kKeyStages;
      barrier_wait(&barriers.free[stage], ~(filled / kKeyStages) & 1);
      produce_rows<D, kStepRows>(
          {{buffers.q[stage], x.qkv, x.ld}, {buffers.dout[stage], x.dout, x.ld_dout}}, tokens,
          task.begin, task.g, row, task.end_row, thread);
      const int column = thread % kStepRows, at = row + column;
      const bool valid = at < task.end_row;
      const int64_t head = task.g * tokens.ratio + tokens.head_of(at);
      const int64_t i = valid ? head * tokens.T + task.begin + tokens.token_of(at) : 0;
      if (thread < kStepRows) {
        copy4_async(&buffers.lse[stage][column], x.lse + i, valid);
      } else {
        copy4_async(&buffers.delta[stage][column], x.delta + i, valid);
      }
      barrier_arrive_by_copies(&barriers.filled[stage]);
    }
  }
  copies_wait_all();
}

// Scores lie transposed, keys by rows. s becomes p; 0 in the rows before `seeing`, which see
// nothing of this thread's keys g and g + 8 of a warp.
__device__ inline void key_scores_to_p(float (*s)[4], const float* lse, const int seeing[2],
                                       bool masked, float scale_log2) {
  const int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < kStepRows / 8; ++n) {
    const float2 pair = *reinterpret_cast<const float2*>(lse + n * 8 + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float lse_log2 = (i % 2 == 0 ? pair.x : pair.y) * kLog2e;
      s[n][i] = exp2_approx(fmaf(s[n][i], scale_log2, -lse_log2));
    }
  }
  if (!masked) return;
#pragma unroll
  for (int n = 0; n < kStepRows / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + n * 8 + i % 2 < seeing[i / 2]) s[n][i] = 0.0f;
    }
  }
}

__device__ inline void consume_key_rows(const Gradients& x, const Tokens& tokens,
                                        const PrefixPlan& prefix, float* sums, KeyBuffers& buffers,
                                        KeyBarriers& barriers) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int group_key = warp / 4 * 64, warp_key = warp * 16;
  const float scale_log2 = x.scale * kLog2e;
  KeyTaskWalk walk(tokens, prefix);
  int used = 0;
  KeyTask task;
  for (int round = 0; walk.find(task_of(round), task); ++round) {
    const int side = round % 2;
    // The first row that sees this thread's first key.
    const int key_row = (task.first_key + warp_key + lane / 4) * tokens.ratio;
    const int end = used + max(0, (task.end_row - task.first_row + kStepRows - 1) / kStepRows);
    // The first rows see none of the second warpgroup's keys; it may also have no keys.
    const int blind = (task.first_key + group_key) * tokens.ratio - task.first_row;
    const bool idle = task.first_key + group_key >= task.keys;
    const int group_begin = idle ? end : min(end, used + max(0, blind / kStepRows));
    // Of the rows before this one some do not see all of the warp's keys.
    const int seeing_row = (task.first_key + warp_key + 15) * tokens.ratio;
    int first_row = task.first_row + (group_begin - used) * kStepRows;

    wait_filled(&barriers.keys_filled[side], round / 2 & 1);
    const act_t* const k_tile = buffers.k[side] + group_key * 64;
    const act_t* const v_tile = buffers.v[side] + group_key * 64;
    for (; used < group_begin; ++used) {
      barrier_wait(&barriers.filled[used % kKeyStages], used / kKeyStages & 1);
      release(&barriers.free[used % kKeyStages]);
    }
    float dk[D / 8][4] = {}, dv[D / 8][4] = {};
    float s[kStepRows / 8][4], dp[kStepRows / 8][4];
    uint32_t p[kStepRows / 16][4], ds[kStepRows / 16][4];
    for (; used < end; ++used, first_row += kStepRows) {
      const int stage = used % kKeyStages;
      wait_filled(&barriers.filled[stage], used / kKeyStages & 1);
      hold(s);
      hold(dp);
      products_begin();
      multiply_tiles<D, kTileKeys>(s, k_tile, buffers.q[stage]);
      products_commit();
      multiply_tiles<D, kTileKeys>(dp, v_tile, buffers.dout[stage]);
      products_commit();
      products_wait<1>();
      hold(s);
      hold(dk);
      hold(dv);
      if (used > group_begin) release(&barriers.free[(used - 1) % kKeyStages]);
      const int seeing[2] = {key_row - first_row, key_row + 8 * tokens.ratio - first_row};
      key_scores_to_p(s, buffers.lse[stage], seeing, first_row < seeing_row, scale_log2);
#pragma unroll
      for (int k = 0; k < kStepRows / 16; ++k) to_fragment_a(p[k], s[2 * k], s[2 * k + 1]);
      hold(s);
      hold(dv);
      products_begin();
      add_product(dv, p, buffers.dout[stage]);
      products_commit();
      products_wait<1>();
      hold(dp);
#pragma unroll
      for (int n = 0; n < kStepRows / 8; ++n) {
        const float2 delta =
            *reinterpret_cast<const float2*>(&buffers.delta[stage][n * 8 + lane % 4 * 2]);
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] *= dp[n][i] - (i % 2 == 0 ? delta.x : delta.y);
      }
#pragma unroll
      for (int k = 0; k < kStepRows / 16; ++k) to_fragment_a(ds[k], s[2 * k], s[2 * k + 1]);
      hold(dk);
      products_begin();
      add_product(dk, ds, buffers.q[stage]);
      products_commit();
      products_wait<1>();  // p · dout is done: p's registers are free for the next step
      hold(dv);
    }
    products_wait<0>();
    hold(dk);
    hold(dv);
    if (end > group_begin) release(&barriers.free[(end - 1) % kKeyStages]);

    if (task.sums_row >= 0) {
      store_partial<D>(sums + (int64_t{task.sums_row} + warp_key) * D, dk, dv, prefix.rows,
                       x.scale);
    } else {
      sync_warpgroup();  // its keys and values have been read
      const float scale[2] = {x.scale, x.scale}, one[2] = {1.0f, 1.0f};
      stage_rows<D, kTileKeys>(buffers.k[side], warp_key, dk, scale);
      stage_rows<D, kTileKeys>(buffers.v[side], warp_key, dv, one);
#pragma unroll 4
      for (int i = lane; i < 16 * (D / 8); i += kWarp) {
        const int row = warp_key + i / (D / 8), chunk = i % (D / 8), at = task.first_key + row;
        if (at >= task.keys) continue;
        act_t* const to = x.dqkv + (task.begin + int64_t{at}) * x.ld_dqkv +
                          (int64_t{tokens.Q} + task.g) * D + chunk * 8;
        *reinterpret_cast<uint4*>(to) =
            *reinterpret_cast<const uint4*>(swizzled<kTileKeys>(buffers.k[side], row, chunk));
        *reinterpret_cast<uint4*>(to + int64_t{tokens.G} * D) =
            *reinterpret_cast<const uint4*>(swizzled<kTileKeys>(buffers.v[side], row, chunk));
      }
    }
    release(&barriers.keys_free[side]);
  }
}
#endif

__global__ void __launch_bounds__(kBlock, 1)
    dkdv_hopper_kernel(Gradients x, Tokens tokens, PrefixPlan prefix, float* sums) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ KeyBarriers barriers;
  KeyBuffers& buffers = aligned_buffers<KeyBuffers>(shared);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kKeyStages; ++stage) {
      barrier_init(&barriers.filled[stage], kWarpgroup);
      barrier_init(&barriers.free[stage], kConsumers * kWarpgroup);
    }
    for (int side = 0; side < 2; ++side) {
      barrier_init(&barriers.keys_filled[side], kWarpgroup);
      barrier_init(&barriers.keys_free[side], kConsumers * kWarpgroup);
    }
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers * kWarpgroup) {
    registers_down<kProducerRegisters>();
    produce_key_rows(x, tokens, prefix, buffers, barriers);
  } else {
    registers_up<kConsumerRegisters>();
    consume_key_rows(x, tokens, prefix, sums, buffers, barriers);
  }
#endif
}

}  // namespace

void launch_backward_hopper(const Gradients& x, const ops::AttentionShape& shape,
                            const PrefixPlan& prefix, float* sums, CudaDevice& device) {
  const Tokens tokens = tokens_of(shape);
  const auto grid = [&](int64_t most) {
    return static_cast<unsigned>(std::min<int64_t>(most, device.sm_count()));
  };
  check(cudaFuncSetAttribute(dq_hopper_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kDqShared),
        "attention_backward: shared memory");
  const int64_t row_tiles = shape.T * (shape.Q / shape.G) / kDqRows + shape.S + 1;
  dq_hopper_kernel<<<grid(row_tiles * shape.G), kBlock, kDqShared, device.stream()>>>(x, tokens);
  check_launch("attention_backward: dq");

  check(cudaFuncSetAttribute(dkdv_hopper_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kKeyShared),
        "attention_backward: shared memory");
  const int64_t key_tiles = int64_t{prefix.tiles} * prefix.parts + shape.T / kTileKeys + shape.S;
  dkdv_hopper_kernel<<<grid(key_tiles * shape.G), kBlock, kKeyShared, device.stream()>>>(
      x, tokens, prefix, sums);
  check_launch("attention_backward: dk, dv");
}

}  // namespace cuda
}  // namespace qlora
