// attention_forward on Hopper: the same sums as attention_forward.cu, by warpgroup products.
// A block takes 128 rows at a time, 64 for each of its two consumer warpgroups, and walks over
// their keys 64 at a time. A warpgroup starts the scores of the next keys and p · v of these
// together: the tensor cores work on p · v while it turns the new scores into p.
#include "attention_hopper.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int D = 128;
constexpr int kConsumers = 2;  // warpgroups
constexpr int kRows = 64 * kConsumers;
constexpr int kKeys = 64;
constexpr int kStages = 4;
constexpr int kBlock = (kConsumers + 1) * kWarpgroup;

struct Buffers {
  act_t k[kStages][kKeys * D], v[kStages][kKeys * D];
  act_t q[kRows * D];
  act_t out[kRows * D];
};
constexpr int kShared = sizeof(Buffers) + 1024;  // to begin on 1024 bytes

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
struct Barriers {
  uint64_t filled[kStages], free[kStages], q_filled, q_free;
};

// What a tile of rows needs; the same for producer and consumers.
struct Work {
  int g, begin, before, first, last;
  int64_t end;
  int keys;

  __device__ Work(const Tokens& x, const Tile& tile, int key_head) : g(key_head) {
    begin = x.begin(tile.segment);
    before = x.before(tile.segment);
    first = static_cast<int>(tile.first);
    end = int64_t{x.end(tile.segment) - begin} * x.ratio;
    last = static_cast<int>(end - first < kRows ? end : first + kRows) - 1;
    keys = before + x.token_of(last) + 1;
  }
};

__device__ inline void produce(const ForwardCall& f, const Tokens& x, Buffers& buffers,
                               Barriers& barriers) {
  const int thread = threadIdx.x % kWarpgroup;
  TileWalk<kRows, Longest::last> walk(x, x.ratio, 0);
  int filled = 0;
  Tile tile;
  for (int round = 0; walk.find(task_of(round) / x.G, tile); ++round) {
    const Work work(x, tile, task_of(round) % x.G);
    const act_t* const k = f.qkv + (int64_t{x.Q} + work.g) * D;
    barrier_wait(&barriers.q_free, ~round & 1);
    produce_rows<D, kRows>({{buffers.q, f.qkv, f.ld}}, x, work.begin, work.g, work.first, work.end,
                           thread);
    barrier_arrive_by_copies(&barriers.q_filled);
    for (int key = 0; key < work.keys; key += kKeys, ++filled) {
      const int stage = filled % kStages;
      barrier_wait(&barriers.free[stage], ~(filled / kStages) & 1);
      produce_keys<D, kKeys>(buffers.k[stage], buffers.v[stage], k, f.ld, x.G * D, work.begin,
                             work.before, key, work.keys, thread);
      barrier_arrive_by_copies(&barriers.filled[stage]);
    }
  }
  copies_wait_all();
}

__device__ inline void store_out(const ForwardCall& f, const Tokens& x, const Work& work,
                                 act_t* tile, int warp_row, const float (*o)[4],
                                 const RowState& rows) {
  const int lane = threadIdx.x % kWarp;
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = quad_sum(rows.sum[half]);
    inverse[half] = 1.0f / sum;
    const int at = work.first + warp_row + lane / 4 + 8 * half;
    if (f.lse != nullptr && lane % 4 == 0 && at <= work.last) {
      f.lse[int64_t{work.g * x.ratio + x.head_of(at)} * x.T + work.begin + x.token_of(at)] =
          rows.top[half] * f.scale + logf(sum);
    }
  }
  stage_rows<D, kRows>(tile, warp_row, o, inverse);
#pragma unroll 4
  for (int i = lane; i < 16 * (D / 8); i += kWarp) {
    const int row = warp_row + i / (D / 8), chunk = i % (D / 8), at = work.first + row;
    if (at > work.last) continue;
    const int64_t token = work.begin + x.token_of(at), head = work.g * x.ratio + x.head_of(at);
    *reinterpret_cast<uint4*>(f.out + token * f.ld_out + head * D + chunk * 8) =
        *reinterpret_cast<const uint4*>(swizzled<kRows>(tile, row, chunk));
  }
  __syncwarp();
}

__device__ inline void consume(const ForwardCall& f, const Tokens& x, Buffers& buffers,
                               Barriers& barriers) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int group_row = warp / 4 * 64, warp_row = warp * 16;
  const float scale_log2 = f.scale * kLog2e;
  TileWalk<kRows, Longest::last> walk(x, x.ratio, 0);
  int used = 0;  // buffers of keys since the start
  Tile tile;
  for (int round = 0; walk.find(task_of(round) / x.G, tile); ++round) {
    const Work work(x, tile, task_of(round) % x.G);
    // The warpgroup may be done before the block: its rows see fewer keys, or there are none.
    const int group_last = min(work.last, work.first + group_row + 63);
    const int group_keys =
        work.first + group_row <= work.last ? work.before + x.token_of(group_last) + 1 : 0;
    const int group_end = used + (group_keys + kKeys - 1) / kKeys;
    const int end = used + (work.keys + kKeys - 1) / kKeys;

    uint32_t q[D / 16][4];
    barrier_wait(&barriers.q_filled, round & 1);
    fragments_of_rows<D, kRows>(q, buffers.q, warp_row);
    release(&barriers.q_free);

    if (used < group_end) {
      RowState rows;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = work.first + warp_row + lane / 4 + 8 * half;
        rows.limit[half] = work.before + x.token_of(row);
        rows.top[half] = -INFINITY;
        rows.sum[half] = 0.0f;
      }
      const int warp_limit = work.before + x.token_of(work.first + warp_row);
      float o[D / 8][4] = {}, s[kKeys / 8][4], shrink[2];
      uint32_t p[kKeys / 16][4];

      wait_filled(&barriers.filled[used % kStages], used / kStages & 1);
      hold(s);
      products_begin();
      multiply_keys<D>(s, q, buffers.k[used % kStages]);
      products_commit();
      products_wait<0>();
      hold(s);
      if (kKeys - 1 > warp_limit) mask_scores<kKeys>(s, 0, rows.limit);
      running_softmax<kKeys>(s, shrink, rows, scale_log2);
#pragma unroll
      for (int k = 0; k < kKeys / 16; ++k) to_fragment_a(p[k], s[2 * k], s[2 * k + 1]);

      for (int first_key = kKeys; used + 1 < group_end; ++used, first_key += kKeys) {
        const int next = used + 1;
        wait_filled(&barriers.filled[next % kStages], next / kStages & 1);
        hold(s);
        hold(o);
        products_begin();
        multiply_keys<D>(s, q, buffers.k[next % kStages]);
        products_commit();
        add_product(o, p, buffers.v[used % kStages]);
        products_commit();
        products_wait<1>();
        hold(s);
        if (first_key + kKeys - 1 > warp_limit) mask_scores<kKeys>(s, first_key, rows.limit);
        running_softmax<kKeys>(s, shrink, rows, scale_log2);
        hold(s);
        products_wait<0>();
        hold(o);
        release_product(&barriers.free[used % kStages]);
        rescale<D>(o, shrink);
#pragma unroll
        for (int k = 0; k < kKeys / 16; ++k) to_fragment_a(p[k], s[2 * k], s[2 * k + 1]);
      }

      hold(o);
      products_begin();
      add_product(o, p, buffers.v[used % kStages]);
      products_commit();
      products_wait<0>();
      hold(o);
      release_product(&barriers.free[used % kStages]);
      ++used;
      store_out(f, x, work, buffers.out, warp_row, o, rows);
    }
    for (; used < end; ++used) {
      barrier_wait(&barriers.filled[used % kStages], used / kStages & 1);
      release_product(&barriers.free[used % kStages]);
    }
  }
}
#endif

// Empty but for machine code of sm_90a; can_run_hopper sees which was built.
__global__ void __launch_bounds__(kBlock, 1) forward_hopper_kernel(ForwardCall f, Tokens x) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ Barriers barriers;
  const uintptr_t address = reinterpret_cast<uintptr_t>(shared);
  Buffers& buffers = *reinterpret_cast<Buffers*>((address + 1023) / 1024 * 1024);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(&barriers.filled[stage], kWarpgroup);
      barrier_init(&barriers.free[stage], kConsumers * kWarpgroup / kWarp);
    }
    barrier_init(&barriers.q_filled, kWarpgroup);
    barrier_init(&barriers.q_free, kConsumers * kWarpgroup);
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers * kWarpgroup) {
    registers_down<40>();
    produce(f, x, buffers, barriers);
  } else {
    registers_up<232>();
    consume(f, x, buffers, barriers);
  }
#endif
}

}  // namespace

bool can_run_hopper(const CudaDevice& device) {
  if (device.compute_capability() != 90 || device.max_shared_bytes() < kShared) return false;
  static const bool built = [] {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, forward_hopper_kernel),
          "attention: kernel attributes");
    return attributes.sharedSizeBytes > 0;
  }();
  return built;
}

void launch_forward_hopper(const ForwardCall& f, const ops::AttentionShape& shape,
                           CudaDevice& device) {
  check(cudaFuncSetAttribute(forward_hopper_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kShared),
        "attention_forward: shared memory");
  const int64_t most = (shape.T * (shape.Q / shape.G) / kRows + shape.S + 1) * shape.G;
  const int64_t blocks = most < device.sm_count() ? most : device.sm_count();
  forward_hopper_kernel<<<static_cast<unsigned>(blocks), kBlock, kShared, device.stream()>>>(
      f, tokens_of(shape));
}

}  // namespace cuda
}  // namespace qlora
