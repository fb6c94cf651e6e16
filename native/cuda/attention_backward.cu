// Packed causal attention with a shared prefix, backward: FlashAttention-2 without its atomics.
//   δ = dout·out,  p = e^(s − lse),  ds[j] = p[j] · (dout·v[j] − δ)
//   dv[j] = Σ p[j] · dout,  dk[j] = Σ ds[j] · q / √D  over the rows that see j
//   dq = Σ ds[j] · k[j] / √D  over the keys a row sees
// Three kernels after δ: dq by tiles of rows; dk and dv by tiles of keys, each walking over the
// rows that see it; and the sum of the prefix's partial dk and dv. A sequence's key is seen by its
// own sequence only. A prefix key is seen by all tokens from its own on, which are one long run of
// rows: its tiles are few and long, so the tokens are cut in parts whose sums are added in order.
// Parts depend on T and P alone.
//
// FLOPs: 14 · D · Q · (keys seen) a token (s and dout·v are computed twice): for the 8B and
// 336 + ~170 tokens 24 MFLOP a token and layer against 436 of the products for dX.
#include <algorithm>
#include <cmath>

#include "attention_backward.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kKeys = 64;  // of a tile
constexpr int kRows = 64;  // of a tile
constexpr int kHalf = 32;  // keys or rows whose scores a warp holds at a time
constexpr int kWarps = 4;
constexpr int kBlock = kWarps * kWarp;
constexpr int64_t kPrefixTasks = 64;  // tiles of 64 keys · parts wanted, for each key head
constexpr int64_t kPartTokens = 256;  // the least worth a part

// ---- δ ------------------------------------------------------------------------------------------

// A block a token, 16 bytes a thread.
template <int D>
__global__ void __launch_bounds__(kThreads)
    delta_kernel(float* delta, const act_t* dout, int64_t ld_dout, const act_t* out, int64_t ld_out,
                 Tokens x) {
  constexpr int kChunks = D / 8;  // of a head
  const int64_t token = blockIdx.x;
  const int chunks = x.Q * kChunks;
  for (int first = 0; first < chunks; first += kThreads) {
    const int chunk = first + static_cast<int>(threadIdx.x);
    float sum = 0.0f;
    if (chunk < chunks) {
      const Float8 a = load8(dout + token * ld_dout + chunk * 8);
      const Float8 b = load8(out + token * ld_out + chunk * 8);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum += a.v[i] * b.v[i];
    }
#pragma unroll
    for (int offset = kChunks / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, offset);
    }
    if (chunk < chunks && chunk % kChunks == 0) {
      delta[int64_t{chunk / kChunks} * x.T + token] = sum;
    }
  }
}

// Any head, any alignment: a warp a (token, head).
__global__ void delta_plain_kernel(float* delta, const act_t* dout, int64_t ld_dout,
                                   const act_t* out, int64_t ld_out, Tokens x, int D) {
  const int64_t row = int64_t{blockIdx.x} * kPlainWarps + threadIdx.x / kWarp;
  if (row >= int64_t{x.T} * x.Q) return;
  const int64_t token = row / x.Q, h = row % x.Q;
  float a[kPlainEach], b[kPlainEach];
  load_head(a, dout + token * ld_dout + h * D, D);
  load_head(b, out + token * ld_out + h * D, D);
  const float sum = dot_head(a, b);
  if (threadIdx.x % kWarp == 0) delta[h * x.T + token] = sum;
}

// ---- dq -----------------------------------------------------------------------------------------

template <int D>
constexpr size_t dq_shared_bytes() {
  return sizeof(act_t) * 4 * kKeys * D;
}

template <int D>
__global__ void __launch_bounds__(kBlock) dq_kernel(Gradients x, Tokens tokens) {
  extern __shared__ __align__(128) uint8_t shared[];
  act_t* const stages = reinterpret_cast<act_t*>(shared);
  constexpr int kStage = 2 * kKeys * D;  // keys, values; first the rows of q and dout in stage 1

  const int g = blockIdx.y, ratio = tokens.ratio;
  const Tile tile = find_tile(tokens, blockIdx.x, ratio, kRows);
  const int begin = tokens.begin(tile.segment), before = tokens.before(tile.segment);
  const int64_t end = int64_t{tokens.end(tile.segment) - begin} * ratio;
  if (tile.first >= end) return;
  const int first = static_cast<int>(tile.first);
  const int last = static_cast<int>(end - first < kRows ? end : first + kRows) - 1;
  const int keys = before + tokens.token_of(last) + 1;
  const act_t* const k = x.qkv + (int64_t{tokens.Q} + g) * D;
  const act_t* const v = k + int64_t{tokens.G} * D;

  act_t* const q_tile = stages + kStage;
  act_t* const dout_tile = q_tile + kRows * D;
  load_rows<D, kRows, kBlock>(q_tile, x.qkv, x.ld, tokens, begin, g, first, end);
  load_rows<D, kRows, kBlock>(dout_tile, x.dout, x.ld_dout, tokens, begin, g, first, end);
  load_keys<D, kKeys, kBlock>(stages, k, x.ld, begin, before, 0, keys);
  load_keys<D, kKeys, kBlock>(stages + kKeys * D, v, x.ld, begin, before, 0, keys);
  copies_commit();
  copies_wait<0>();
  __syncthreads();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  uint32_t q[D / 16][4], dout[D / 16][4];
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    fragment_a<D>(q[c], q_tile, warp * 16, c);
    fragment_a<D>(dout[c], dout_tile, warp * 16, c);
  }

  const int row = first + warp * 16 + lane / 4;
  float lse_log2[2], delta[2];
  int limit[2];  // the last key seen
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int at = row + 8 * half;
    const int64_t head = g * ratio + tokens.head_of(at);
    const int64_t i = head * tokens.T + begin + tokens.token_of(at);
    limit[half] = before + tokens.token_of(at);
    lse_log2[half] = at <= last ? x.lse[i] * kLog2e : 0.0f;
    delta[half] = at <= last ? x.delta[i] : 0.0f;
  }
  const float scale_log2 = x.scale * kLog2e;
  float dq[D / 8][4] = {};
  for (int first_key = 0, stage = 0; first_key < keys; first_key += kKeys, stage ^= 1) {
    copies_wait<0>();
    __syncthreads();
    const act_t* const k_tile = stages + stage * kStage;
    const act_t* const v_tile = k_tile + kKeys * D;
    if (first_key + kKeys < keys) {
      act_t* const next = stages + (stage ^ 1) * kStage;
      load_keys<D, kKeys, kBlock>(next, k, x.ld, begin, before, first_key + kKeys, keys);
      load_keys<D, kKeys, kBlock>(next + kKeys * D, v, x.ld, begin, before, first_key + kKeys,
                                  keys);
      copies_commit();
    }
#pragma unroll
    for (int part = 0; part < kKeys; part += kHalf) {
      float s[kHalf / 8][4] = {}, dp[kHalf / 8][4] = {};
#pragma unroll
      for (int c = 0; c < D / 16; ++c) {
#pragma unroll
        for (int n = 0; n < kHalf / 16; ++n) {
          uint32_t b[4];
          fragments_b<D>(b, k_tile, part + n * 16, c);
          mma(s[2 * n], q[c], b[0], b[1]);
          mma(s[2 * n + 1], q[c], b[2], b[3]);
          fragments_b<D>(b, v_tile, part + n * 16, c);
          mma(dp[2 * n], dout[c], b[0], b[1]);
          mma(dp[2 * n + 1], dout[c], b[2], b[3]);
        }
      }
      const int column = first_key + part + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < kHalf / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float p = exp2_approx(fmaf(s[n][i], scale_log2, -lse_log2[i / 2]));
          s[n][i] = column + n * 8 + i % 2 > limit[i / 2] ? 0.0f : p * (dp[n][i] - delta[i / 2]);
        }
      }
#pragma unroll
      for (int n = 0; n < kHalf / 16; ++n) {
        uint32_t ds[4];
        to_fragment_a(ds, s[2 * n], s[2 * n + 1]);
#pragma unroll
        for (int c = 0; c < D / 16; ++c) {
          uint32_t b[4];
          fragments_b_transposed<D>(b, k_tile, part + n * 16, c);
          mma(dq[2 * c], ds, b[0], b[1]);
          mma(dq[2 * c + 1], ds, b[2], b[3]);
        }
      }
    }
  }

  __syncthreads();
  write_rows<D>(stages, warp * 16, dq, x.scale, x.scale);
#pragma unroll
  for (int i = lane; i < 16 * (D / 8); i += kWarp) {
    const int r = warp * 16 + i / (D / 8), chunk = i % (D / 8), at = first + r;
    if (at > last) continue;
    const int64_t token = begin + tokens.token_of(at), head = g * ratio + tokens.head_of(at);
    act_t* const to = x.dqkv + token * x.ld_dqkv + head * D;
    *reinterpret_cast<uint4*>(to + chunk * 8) =
        *reinterpret_cast<const uint4*>(chunk_of<D>(stages, r, chunk));
  }
}

// ---- dk, dv -------------------------------------------------------------------------------------

template <int D>
struct KeyTileShared {
  act_t k[kKeys * D], v[kKeys * D];
  act_t q[2][kRows * D], dout[2][kRows * D];
  float lse[2][kRows], delta[2][kRows];
  int query[2][kRows];  // token of the row, counted from the segment's begin
};

template <int D>
__device__ inline void load_key_rows(KeyTileShared<D>& shared, int stage, const Gradients& x,
                                     const Tokens& tokens, const KeyTask& task, int g,
                                     int64_t first) {
  load_rows<D, kRows, kBlock>(shared.q[stage], x.qkv, x.ld, tokens, task.begin, g, first,
                              task.end_row);
  load_rows<D, kRows, kBlock>(shared.dout[stage], x.dout, x.ld_dout, tokens, task.begin, g, first,
                              task.end_row);
  if (threadIdx.x < kRows) {
    const int at = static_cast<int>(first) + threadIdx.x;
    const bool valid = at < task.end_row;
    const int64_t head = g * tokens.ratio + tokens.head_of(at);
    const int64_t i = valid ? head * tokens.T + task.begin + tokens.token_of(at) : 0;
    copy4_async(&shared.lse[stage][threadIdx.x], x.lse + i, valid);
    copy4_async(&shared.delta[stage][threadIdx.x], x.delta + i, valid);
    shared.query[stage][threadIdx.x] = tokens.token_of(at);
  }
  copies_commit();
}

// dk, dv += those of rows [part, part + kHalf) of a stage, for the 16 keys of a warp. Scores lie
// transposed, keys by rows, so that p and ds are a fragments as they come.
template <int D>
__device__ inline void add_rows(float (*dk)[4], float (*dv)[4], const KeyTileShared<D>& shared,
                                int stage, int part, int warp_key, int key, bool masked,
                                float scale_log2) {
  const act_t* const q_tile = shared.q[stage];
  const act_t* const dout_tile = shared.dout[stage];
  float s[kHalf / 8][4] = {}, dp[kHalf / 8][4] = {};
#pragma unroll
  for (int c = 0; c < D / 16; ++c) {
    uint32_t k[4], v[4];
    fragment_a<D>(k, shared.k, warp_key, c);
    fragment_a<D>(v, shared.v, warp_key, c);
#pragma unroll
    for (int n = 0; n < kHalf / 16; ++n) {
      uint32_t b[4];
      fragments_b<D>(b, q_tile, part + n * 16, c);
      mma(s[2 * n], k, b[0], b[1]);
      mma(s[2 * n + 1], k, b[2], b[3]);
      fragments_b<D>(b, dout_tile, part + n * 16, c);
      mma(dp[2 * n], v, b[0], b[1]);
      mma(dp[2 * n + 1], v, b[2], b[3]);
    }
  }
#pragma unroll
  for (int n = 0; n < kHalf / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = part + n * 8 + threadIdx.x % 4 * 2 + i;
      const float lse_log2 = shared.lse[stage][column] * kLog2e;
      const float delta = shared.delta[stage][column];
      const int query = masked ? shared.query[stage][column] : INT32_MAX;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& score = s[n][2 * half + i];
        score = key + 8 * half > query ? 0.0f : exp2_approx(fmaf(score, scale_log2, -lse_log2));
        float& ds = dp[n][2 * half + i];
        ds = key + 8 * half > query ? 0.0f : score * (ds - delta);
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kHalf / 16; ++n) {
    uint32_t p[4], ds[4];
    to_fragment_a(p, s[2 * n], s[2 * n + 1]);
    to_fragment_a(ds, dp[2 * n], dp[2 * n + 1]);
#pragma unroll
    for (int c = 0; c < D / 16; ++c) {
      uint32_t b[4];
      fragments_b_transposed<D>(b, dout_tile, part + n * 16, c);
      mma(dv[2 * c], p, b[0], b[1]);
      mma(dv[2 * c + 1], p, b[2], b[3]);
      fragments_b_transposed<D>(b, q_tile, part + n * 16, c);
      mma(dk[2 * c], ds, b[0], b[1]);
      mma(dk[2 * c + 1], ds, b[2], b[3]);
    }
  }
}

template <int D>
__global__ void __launch_bounds__(kBlock)
    dkdv_kernel(Gradients x, Tokens tokens, PrefixPlan prefix, float* sums) {
  extern __shared__ __align__(128) uint8_t shared_raw[];
  KeyTileShared<D>& shared = *reinterpret_cast<KeyTileShared<D>*>(shared_raw);
  const int ratio = tokens.ratio;
  const unsigned prefix_blocks = prefix.tiles * prefix.parts * tokens.G;
  KeyTask task;
  if (blockIdx.x < prefix_blocks) {
    task = prefix_task(tokens, prefix, static_cast<int>(blockIdx.x), kKeys);
  } else {
    // Numbered as find_tile does, over the sequences alone.
    const int64_t block = blockIdx.x - prefix_blocks;
    const int64_t skipped = int64_t{tokens.P} / kKeys + 1;  // numbers of the prefix
    const Tile tile = find_tile(tokens, block / tokens.G + skipped, 1, kKeys);
    task.g = static_cast<int>(block % tokens.G);
    task.begin = tokens.begin(tile.segment);
    task.keys = tokens.end(tile.segment) - task.begin;
    if (tile.first >= task.keys) return;
    task.first_key = static_cast<int>(tile.first);
    task.first_row = task.first_key * ratio;
    task.end_row = task.keys * ratio;
    task.sums_row = -1;
  }
  const int g = task.g;
  const act_t* const k = x.qkv + (int64_t{tokens.Q} + g) * D;
  load_keys<D, kKeys, kBlock>(shared.k, k, x.ld, task.begin, 0, task.first_key, task.keys);
  load_keys<D, kKeys, kBlock>(shared.v, k + int64_t{tokens.G} * D, x.ld, task.begin, 0,
                              task.first_key, task.keys);
  load_key_rows<D>(shared, 0, x, tokens, task, g, task.first_row);

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int key = task.first_key + warp * 16 + lane / 4;
  const float scale_log2 = x.scale * kLog2e;
  float dk[D / 8][4] = {}, dv[D / 8][4] = {};
  int stage = 0;
  for (int first = task.first_row; first < task.end_row; first += kRows, stage ^= 1) {
    copies_wait<0>();
    __syncthreads();
    if (first + kRows < task.end_row) {
      load_key_rows<D>(shared, stage ^ 1, x, tokens, task, g, first + kRows);
    }
    const bool masked = first < (task.first_key + kKeys) * ratio;
#pragma unroll
    for (int part = 0; part < kRows; part += kHalf) {
      add_rows<D>(dk, dv, shared, stage, part, warp * 16, key, masked, scale_log2);
    }
  }
  copies_wait<0>();
  __syncthreads();
  if (task.sums_row >= 0) {
    store_partial<D>(sums + (int64_t{task.sums_row} + warp * 16) * D, dk, dv, prefix.rows, x.scale);
    return;
  }
  act_t* const dk_tile = shared.q[0];
  act_t* const dv_tile = shared.dout[0];
  write_rows<D>(dk_tile, warp * 16, dk, x.scale, x.scale);
  write_rows<D>(dv_tile, warp * 16, dv, 1.0f, 1.0f);
#pragma unroll
  for (int i = lane; i < 16 * (D / 8); i += kWarp) {
    const int r = warp * 16 + i / (D / 8), chunk = i % (D / 8), at = task.first_key + r;
    if (at >= task.keys) continue;
    act_t* const to =
        x.dqkv + (task.begin + int64_t{at}) * x.ld_dqkv + (int64_t{tokens.Q} + g) * D + chunk * 8;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(chunk_of<D>(dk_tile, r, chunk));
    *reinterpret_cast<uint4*>(to + int64_t{tokens.G} * D) =
        *reinterpret_cast<const uint4*>(chunk_of<D>(dv_tile, r, chunk));
  }
}

// The prefix's dk and dv: the parts' sums added in order, eight columns a thread.
__global__ void sum_parts_kernel(act_t* dqkv, int64_t ld, const float* sums, Tokens tokens, int D,
                                 PrefixPlan prefix) {
  const int64_t chunks = D / 8, i = first_item();
  if (i >= tokens.P * 2 * int64_t{tokens.G} * chunks) return;
  const int64_t chunk = i % chunks, column = i / chunks % (2 * tokens.G);  // G keys, then G values
  const int64_t row = i / chunks / (2 * tokens.G);
  const int64_t g = column % tokens.G, is_v = column / tokens.G;
  const int64_t stride = int64_t{tokens.G} * 2 * prefix.rows * D;
  const float* from = sums + ((g * 2 + is_v) * prefix.rows + row) * D + chunk * 8;
  Float8 sum = load8(from);
  for (int64_t part = 1; part < prefix.parts; ++part) {
    from += stride;
    const Float8 more = load8(from);
#pragma unroll
    for (int c = 0; c < 8; ++c) sum.v[c] += more.v[c];
  }
  store8(dqkv + row * ld + (tokens.Q + column) * D + chunk * 8, sum);
}

// ---- any head, any alignment --------------------------------------------------------------------

// A warp a (token, query head), key after key.
__global__ void dq_plain_kernel(Gradients x, Tokens tokens, int D) {
  const int64_t row = int64_t{blockIdx.x} * kPlainWarps + threadIdx.x / kWarp;
  if (row >= int64_t{tokens.T} * tokens.Q) return;
  const int64_t token = row / tokens.Q, h = row % tokens.Q, g = h / tokens.ratio;
  const int segment = segment_of(tokens, token);
  const int begin = tokens.begin(segment), before = tokens.before(segment);
  const int64_t keys = before + token - begin + 1;
  float q[kPlainEach], dout[kPlainEach], k[kPlainEach], v[kPlainEach], dq[kPlainEach] = {};
  load_head(q, x.qkv + token * x.ld + h * D, D);
  load_head(dout, x.dout + token * x.ld_dout + h * D, D);
  const float lse = x.lse[h * tokens.T + token], delta = x.delta[h * tokens.T + token];
  for (int64_t j = 0; j < keys; ++j) {
    const act_t* const from =
        x.qkv + (j < before ? j : begin + j - before) * x.ld + (tokens.Q + g) * D;
    load_head(k, from, D);
    load_head(v, from + int64_t{tokens.G} * D, D);
    const float p = expf(dot_head(q, k) * x.scale - lse);
    const float ds = p * (dot_head(dout, v) - delta);
#pragma unroll
    for (int i = 0; i < kPlainEach; ++i) dq[i] += ds * k[i];
  }
  store_head(x.dqkv + token * x.ld_dqkv + h * D, dq, D, x.scale);
}

// A warp a (token as key, key head), row after row.
__global__ void dkdv_plain_kernel(Gradients x, Tokens tokens, int D) {
  const int64_t item = int64_t{blockIdx.x} * kPlainWarps + threadIdx.x / kWarp;
  if (item >= int64_t{tokens.T} * tokens.G) return;
  const int64_t token = item / tokens.G, g = item % tokens.G;
  const int64_t end = token < tokens.P ? tokens.T : tokens.end(segment_of(tokens, token));
  float q[kPlainEach], dout[kPlainEach], k[kPlainEach], v[kPlainEach];
  float dk[kPlainEach] = {}, dv[kPlainEach] = {};
  const int64_t column = (tokens.Q + g) * D, to_v = int64_t{tokens.G} * D;
  load_head(k, x.qkv + token * x.ld + column, D);
  load_head(v, x.qkv + token * x.ld + column + to_v, D);
  for (int64_t t = token; t < end; ++t) {
    for (int64_t h = g * tokens.ratio; h < (g + 1) * tokens.ratio; ++h) {
      load_head(q, x.qkv + t * x.ld + h * D, D);
      load_head(dout, x.dout + t * x.ld_dout + h * D, D);
      const float p = expf(dot_head(q, k) * x.scale - x.lse[h * tokens.T + t]);
      const float ds = p * (dot_head(dout, v) - x.delta[h * tokens.T + t]);
#pragma unroll
      for (int i = 0; i < kPlainEach; ++i) {
        dv[i] += p * dout[i];
        dk[i] += ds * q[i];
      }
    }
  }
  act_t* const to = x.dqkv + token * x.ld_dqkv + column;
  store_head(to, dk, D, x.scale);
  store_head(to + to_v, dv, D, 1.0f);
}

// ---- launches -----------------------------------------------------------------------------------

template <int D>
void launch(const Gradients& x, const ops::AttentionShape& shape, const PrefixPlan& prefix,
            float* sums, CudaDevice& device) {
  const Tokens tokens = tokens_of(shape);
  check(cudaFuncSetAttribute(dq_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             int{dq_shared_bytes<D>()}),
        "attention_backward: shared memory");
  const dim3 grid(tile_numbers(shape, shape.Q / shape.G, kRows), static_cast<unsigned>(shape.G));
  dq_kernel<D><<<grid, kBlock, dq_shared_bytes<D>(), device.stream()>>>(x, tokens);
  check_launch("attention_backward: dq");

  check(cudaFuncSetAttribute(dkdv_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             int{sizeof(KeyTileShared<D>)}),
        "attention_backward: shared memory");
  const int64_t own_tiles = tile_numbers(shape, 1, kKeys) - (shape.P / kKeys + 1);
  const int64_t blocks = (prefix.tiles * prefix.parts + own_tiles) * shape.G;
  if (blocks == 0) return;
  dkdv_kernel<D>
      <<<static_cast<unsigned>(blocks), kBlock, sizeof(KeyTileShared<D>), device.stream()>>>(
          x, tokens, prefix, sums);
  check_launch("attention_backward: dk, dv");
}

// Rows of prefix keys in all parts together, never falling with T or P: parts · rows of any smaller
// shape is below both terms, as parts > 1 only while the rows are fewer than 64 · kPrefixTasks.
int64_t most_partial_rows(const ops::AttentionShape& shape) {
  const int64_t most_parts = shape.T / kPartTokens;
  if (most_parts <= 1) return 0;
  const int64_t by_size = most_parts * ceil_div(shape.P, kPrefixKeys) * kPrefixKeys;
  return std::min(by_size, 2 * 64 * kPrefixTasks);
}

int64_t delta_floats(const ops::AttentionShape& shape) {
  return ceil_div(shape.Q * shape.T, 64) * 64;
}

}  // namespace

PrefixPlan plan_prefix(const ops::AttentionShape& shape, int64_t tile_keys) {
  if (shape.P == 0) return {0, 1, static_cast<int>(shape.T), 0};
  const int64_t rows = ceil_div(shape.P, kPrefixKeys) * kPrefixKeys;
  const int64_t most = std::max<int64_t>(1, shape.T / kPartTokens);
  const int64_t parts = std::min(most, ceil_div(64 * kPrefixTasks, rows));
  return {static_cast<int>(ceil_div(shape.P, tile_keys)), static_cast<int>(parts),
          static_cast<int>(ceil_div(shape.T, parts)), static_cast<int>(rows)};
}

}  // namespace cuda

// δ, then the prefix's partial sums.
size_t ops::attention_backward_workspace(const AttentionShape& shape) {
  const int64_t sums = cuda::most_partial_rows(shape) * shape.G * 2 * shape.D;
  return size_t(cuda::delta_floats(shape) + sums) * sizeof(float);
}

void ops::attention_backward(act_t* dqkv, int64_t ld_dqkv, const act_t* dout, int64_t ld_dout,
                             const act_t* out, int64_t ld_out, const float* lse, const act_t* qkv,
                             int64_t ld, void* workspace, const AttentionShape& shape, Device& d) {
  using namespace cuda;
  CudaDevice& device = cuda_device(d);
  const bool tiled = check_head_dim(shape) && rows_aligned(qkv, ld) &&
                     rows_aligned(dout, ld_dout) && rows_aligned(out, ld_out) &&
                     rows_aligned(dqkv, ld_dqkv);
  if (shape.T == 0) return;
  float* const delta = static_cast<float*>(workspace);
  float* const sums = delta + delta_floats(shape);
  const Tokens tokens = tokens_of(shape);
  const int D = static_cast<int>(shape.D);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.D));
  const Gradients x = {dqkv, ld_dqkv, dout, ld_dout, lse, delta, qkv, ld, scale};
  if (tiled) {
    const auto delta_of = D == 128 ? delta_kernel<128> : delta_kernel<64>;
    delta_of<<<static_cast<unsigned>(shape.T), kThreads, 0, device.stream()>>>(delta, dout, ld_dout,
                                                                               out, ld_out, tokens);
    check_launch("attention_backward: delta");
    const bool hopper = D == 128 && attention_path(device) == AttentionPath::hopper;
    const PrefixPlan prefix = plan_prefix(shape, hopper ? kHopperTileKeys : kKeys);
    if (hopper) {
      launch_backward_hopper(x, shape, prefix, sums, device);
    } else {
      D == 128 ? launch<128>(x, shape, prefix, sums, device)
               : launch<64>(x, shape, prefix, sums, device);
    }
    if (prefix.parts == 1) return;
    const int64_t items = shape.P * 2 * shape.G * (D / 8);
    sum_parts_kernel<<<static_cast<unsigned>(ceil_div(items, kThreads)), kThreads, 0,
                       device.stream()>>>(dqkv, ld_dqkv, sums, tokens, D, prefix);
    check_launch("attention_backward: the prefix's sums");
    return;
  }
  constexpr int kPlainBlock = kPlainWarps * kWarp;
  const auto plain_blocks = [](int64_t items) {
    return static_cast<unsigned>(ceil_div(items, kPlainWarps));
  };
  delta_plain_kernel<<<plain_blocks(shape.T * shape.Q), kPlainBlock, 0, device.stream()>>>(
      delta, dout, ld_dout, out, ld_out, tokens, D);
  check_launch("attention_backward: delta");
  dq_plain_kernel<<<plain_blocks(shape.T * shape.Q), kPlainBlock, 0, device.stream()>>>(x, tokens,
                                                                                        D);
  check_launch("attention_backward: dq");
  dkdv_plain_kernel<<<plain_blocks(shape.T * shape.G), kPlainBlock, 0, device.stream()>>>(x, tokens,
                                                                                          D);
  check_launch("attention_backward: dk, dv");
}

}  // namespace qlora
