// Packed causal attention with a shared prefix, forward; per token t and query head h:
//   s[j] = q·k[j] / √D over the tokens j that t sees,  p = softmax(s),  out = Σ p[j] · v[j],
//   lse = log Σ e^s[j]
// A block takes a tile of rows (tokens × the query heads of a key head) and walks over the prefix
// and then the tile's own sequence, 64 keys at a time, with a running maximum and sum (as in
// FlashAttention-2). Scores, sums and out's accumulators are fp32; p is rounded to bf16 for p · v.
//
// FLOPs: 4 · D · Q · (keys seen) a token: for the 8B and 336 + ~170 tokens, 6.9 MFLOP a token and
// layer against 436 of the layer's products.
#include <cmath>
#include <string>

#include "attention.cuh"
#include "error.h"

namespace qlora {
namespace cuda {
namespace {

constexpr int kKeys = 64;
constexpr int kWarps = 8;
constexpr int kBlock = kWarps * kWarp;
constexpr int kRows = 16 * kWarps;

// Two stages of keys and values; the rows of q first lie where the second stage will.
template <int D>
constexpr size_t shared_bytes() {
  return sizeof(act_t) * 4 * kKeys * D;
}

// Scores of keys a row does not see become −∞. limit, limit8: the last key seen by rows g, g + 8.
__device__ inline void mask_scores(float (*s)[4], int first_key, int limit, int limit8) {
  const int column = first_key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + n * 8 + i % 2 > (i < 2 ? limit : limit8)) s[n][i] = -INFINITY;
    }
  }
}

// s becomes e^((s − top) / √D); top, sum and out's accumulators are brought to the new maximum.
// half: 0 for row g, 1 for row g + 8.
template <int D>
__device__ inline void running_softmax(float (*s)[4], float (*o)[4], float& top, float& sum,
                                       int half, float scale_log2) {
  float most = top;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
    most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
  }
  most = quad_max(most);
  const float shrink = exp2_approx((top - most) * scale_log2);
  top = most;
  sum *= shrink;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    o[n][2 * half] *= shrink;
    o[n][2 * half + 1] *= shrink;
  }
  const float shift = most * scale_log2;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; ++i) {
      s[n][i] = exp2_approx(fmaf(s[n][i], scale_log2, -shift));
      sum += s[n][i];
    }
  }
}

template <int D>
__global__ void __launch_bounds__(kBlock)
    forward_kernel(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld, Tokens x,
                   float scale) {
  extern __shared__ __align__(128) uint8_t shared[];
  act_t* const stages = reinterpret_cast<act_t*>(shared);
  constexpr int kStage = 2 * kKeys * D;
  static_assert(kRows * D <= kStage, "q fits in a stage");

  const int g = blockIdx.y, ratio = x.ratio;
  const Tile tile = find_tile(x, blockIdx.x, ratio, kRows);
  const int begin = x.begin(tile.segment), before = x.before(tile.segment);
  const int64_t end = int64_t{x.end(tile.segment) - begin} * ratio;
  if (tile.first >= end) return;
  const int first = static_cast<int>(tile.first);
  const int last = static_cast<int>(end - first < kRows ? end : first + kRows) - 1;
  const int keys = before + x.token_of(last) + 1;
  const act_t* const k = qkv + (int64_t{x.Q} + g) * D;

  act_t* const q_tile = stages + kStage;
  load_rows<D, kRows, kBlock>(q_tile, qkv, ld, x, begin, g, first, end);
  load_keys<D, kKeys, kBlock>(stages, stages + kKeys * D, k, ld, x, begin, before, 0, keys);
  copies_commit();
  copies_wait<0>();
  __syncthreads();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  uint32_t q[D / 16][4];
#pragma unroll
  for (int c = 0; c < D / 16; ++c) fragment_a<D>(q[c], q_tile, warp * 16, c);

  const int row = first + warp * 16 + lane / 4;
  const int limit = before + x.token_of(row), limit8 = before + x.token_of(row + 8);
  const int warp_limit = before + x.token_of(first + warp * 16);  // of the warp's first row
  float o[D / 8][4] = {};
  float top = -INFINITY, top8 = -INFINITY, sum = 0.0f, sum8 = 0.0f;
  const float scale_log2 = scale * kLog2e;
  for (int first_key = 0, stage = 0; first_key < keys; first_key += kKeys, stage ^= 1) {
    copies_wait<0>();
    __syncthreads();
    const act_t* const k_tile = stages + stage * kStage;
    const act_t* const v_tile = k_tile + kKeys * D;
    if (first_key + kKeys < keys) {
      act_t* const next = stages + (stage ^ 1) * kStage;
      load_keys<D, kKeys, kBlock>(next, next + kKeys * D, k, ld, x, begin, before,
                                  first_key + kKeys, keys);
      copies_commit();
    }
    float s[kKeys / 8][4] = {};
#pragma unroll
    for (int c = 0; c < D / 16; ++c) {
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        fragments_b<D>(b, k_tile, n * 16, c);
        mma(s[2 * n], q[c], b[0], b[1]);
        mma(s[2 * n + 1], q[c], b[2], b[3]);
      }
    }
    if (first_key + kKeys - 1 > warp_limit) mask_scores(s, first_key, limit, limit8);
    running_softmax<D>(s, o, top, sum, 0, scale_log2);
    running_softmax<D>(s, o, top8, sum8, 1, scale_log2);
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      uint32_t p[4];
      to_fragment_a(p, s[2 * n], s[2 * n + 1]);
#pragma unroll
      for (int c = 0; c < D / 16; ++c) {
        uint32_t b[4];
        fragments_b_transposed<D>(b, v_tile, n * 16, c);
        mma(o[2 * c], p, b[0], b[1]);
        mma(o[2 * c + 1], p, b[2], b[3]);
      }
    }
  }

  sum = quad_sum(sum);
  sum8 = quad_sum(sum8);
  if (lse != nullptr && lane % 4 == 0) {
    for (int half = 0; half < 2; ++half) {
      const int at = row + 8 * half;
      if (at > last) continue;
      lse[int64_t{g * ratio + x.head_of(at)} * x.T + begin + x.token_of(at)] =
          half == 0 ? top * scale + logf(sum) : top8 * scale + logf(sum8);
    }
  }
  __syncthreads();
  write_rows<D>(stages, warp * 16, o, 1.0f / sum, 1.0f / sum8);
#pragma unroll
  for (int i = lane; i < 16 * (D / 8); i += kWarp) {
    const int r = warp * 16 + i / (D / 8), chunk = i % (D / 8), at = first + r;
    if (at > last) continue;
    const int64_t token = begin + x.token_of(at), head = g * ratio + x.head_of(at);
    act_t* const to = out + token * ld_out + head * D;
    *reinterpret_cast<uint4*>(to + chunk * 8) =
        *reinterpret_cast<const uint4*>(chunk_of<D>(stages, r, chunk));
  }
}

// Any head, any alignment: a warp a row, key after key.
__global__ void forward_plain_kernel(act_t* out, int64_t ld_out, float* lse, const act_t* qkv,
                                     int64_t ld, Tokens x, int D, float scale) {
  const int64_t row = int64_t{blockIdx.x} * kPlainWarps + threadIdx.x / kWarp;
  if (row >= int64_t{x.T} * x.Q) return;
  const int64_t token = row / x.Q;
  const int h = static_cast<int>(row % x.Q), g = h / x.ratio;
  const int segment = segment_of(x, token);
  const int begin = x.begin(segment), before = x.before(segment);
  const int64_t keys = before + token - begin + 1;
  float q[kPlainEach], k[kPlainEach], v[kPlainEach], o[kPlainEach] = {};
  load_head(q, qkv + token * ld + int64_t{h} * D, D);
  float top = -INFINITY, sum = 0.0f;
  for (int64_t j = 0; j < keys; ++j) {
    const act_t* const from =
        qkv + (j < before ? j : begin + j - before) * ld + (int64_t{x.Q} + g) * D;
    load_head(k, from, D);
    load_head(v, from + int64_t{x.G} * D, D);
    const float s = dot_head(q, k) * scale;
    const float most = fmaxf(top, s);
    const float shrink = expf(top - most), p = expf(s - most);
    sum = sum * shrink + p;
#pragma unroll
    for (int i = 0; i < kPlainEach; ++i) o[i] = o[i] * shrink + p * v[i];
    top = most;
  }
  store_head(out + token * ld_out + int64_t{h} * D, o, D, 1.0f / sum);
  if (lse != nullptr && threadIdx.x % kWarp == 0) lse[int64_t{h} * x.T + token] = top + logf(sum);
}

template <int D>
void launch(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld,
            const ops::AttentionShape& shape, float scale, CudaDevice& device) {
  check(cudaFuncSetAttribute(forward_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             int{shared_bytes<D>()}),
        "attention_forward: shared memory");
  const dim3 grid(tile_numbers(shape, shape.Q / shape.G, kRows), static_cast<unsigned>(shape.G));
  forward_kernel<D><<<grid, kBlock, shared_bytes<D>(), device.stream()>>>(
      out, ld_out, lse, qkv, ld, tokens_of(shape), scale);
}

}  // namespace

bool check_head_dim(const ops::AttentionShape& shape) {
  if (shape.D > kPlainD) {
    throw Error(QLORA_ERROR_UNSUPPORTED,
                "head_dim must be at most " + std::to_string(kPlainD) +
                    " in the CUDA build, found " + std::to_string(shape.D) +
                    "; take the CPU build for this model");
  }
  return shape.D == 64 || shape.D == 128;
}

}  // namespace cuda

void ops::attention_forward(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld,
                            const AttentionShape& shape, Device& d) {
  using namespace cuda;
  CudaDevice& device = cuda_device(d);
  const bool tiled = check_head_dim(shape) && rows_aligned(qkv, ld) && rows_aligned(out, ld_out);
  if (shape.T == 0) return;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.D));
  if (tiled && shape.D == 128) {
    launch<128>(out, ld_out, lse, qkv, ld, shape, scale, device);
  } else if (tiled) {
    launch<64>(out, ld_out, lse, qkv, ld, shape, scale, device);
  } else {
    const int64_t rows = shape.T * shape.Q;
    forward_plain_kernel<<<static_cast<unsigned>(ceil_div(rows, kPlainWarps)), kPlainWarps * kWarp,
                           0, device.stream()>>>(out, ld_out, lse, qkv, ld, tokens_of(shape),
                                                 static_cast<int>(shape.D), scale);
  }
  check_launch("attention_forward");
}

}  // namespace qlora
