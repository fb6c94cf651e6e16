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
#include "attention_path.h"
#include "error.h"

namespace qlora {
namespace cuda {
namespace {

constexpr int kRows = 128;
constexpr int kWarps = 4;
constexpr int kBlock = kWarps * kWarp;
constexpr int kSets = 2;  // of 16 rows a warp works on, so that a fragment of keys serves twice

template <int D, int kKeys>
constexpr size_t shared_bytes() {
  return sizeof(act_t) * (kRows + 2 * kKeys) * D;
}

// Keys and values have one buffer each: the next keys are on their way while the softmax and p · v
// run, the values while the scores run; a second block of the multiprocessor fills the waits.
template <int D, int kKeys>
__global__ void __launch_bounds__(kBlock, 2) forward_kernel(ForwardCall f, Tokens x) {
  extern __shared__ __align__(128) uint8_t shared[];
  act_t* const q_tile = reinterpret_cast<act_t*>(shared);
  act_t* const k_tile = q_tile + kRows * D;
  act_t* const v_tile = k_tile + kKeys * D;

  const int g = blockIdx.y, ratio = x.ratio;
  const Tile tile = find_tile(x, blockIdx.x, ratio, kRows);
  const int begin = x.begin(tile.segment), before = x.before(tile.segment);
  const int64_t end = int64_t{x.end(tile.segment) - begin} * ratio;
  if (tile.first >= end) return;
  const int first = static_cast<int>(tile.first);
  const int last = static_cast<int>(end - first < kRows ? end : first + kRows) - 1;
  const int keys = before + x.token_of(last) + 1;
  const act_t* const k = f.qkv + (int64_t{x.Q} + g) * D;
  const act_t* const v = k + int64_t{x.G} * D;

  load_rows<D, kRows, kBlock>(q_tile, f.qkv, f.ld, x, begin, g, first, end);
  load_keys<D, kKeys, kBlock>(k_tile, k, f.ld, begin, before, 0, keys);
  copies_commit();
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int warp_row = warp * 16 * kSets;
  const int warp_limit = before + x.token_of(first + warp_row);  // of the warp's first row
  RowState rows[kSets];
  float o[kSets][D / 8][4] = {};
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + warp_row + set * 16 + lane / 4 + 8 * half;
      rows[set].limit[half] = before + x.token_of(row);
      rows[set].top[half] = -INFINITY;
      rows[set].sum[half] = 0.0f;
    }
  }
  const float scale_log2 = f.scale * kLog2e;
  for (int first_key = 0; first_key < keys; first_key += kKeys) {
    copies_wait<0>();
    __syncthreads();  // the keys are here; the values before have been used
    load_keys<D, kKeys, kBlock>(v_tile, v, f.ld, begin, before, first_key, keys);
    copies_commit();
    float s[kSets][kKeys / 8][4] = {};
#pragma unroll
    for (int c = 0; c < D / 16; ++c) {
      uint32_t q[kSets][4];
#pragma unroll
      for (int set = 0; set < kSets; ++set) fragment_a<D>(q[set], q_tile, warp_row + set * 16, c);
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        fragments_b<D>(b, k_tile, n * 16, c);
#pragma unroll
        for (int set = 0; set < kSets; ++set) {
          mma(s[set][2 * n], q[set], b[0], b[1]);
          mma(s[set][2 * n + 1], q[set], b[2], b[3]);
        }
      }
    }
    copies_wait<0>();
    __syncthreads();  // the values are here; the keys have been used
    if (first_key + kKeys < keys) {
      load_keys<D, kKeys, kBlock>(k_tile, k, f.ld, begin, before, first_key + kKeys, keys);
      copies_commit();
    }
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      if (first_key + kKeys - 1 > warp_limit) {
        mask_scores<kKeys>(s[set], first_key, rows[set].limit);
      }
      float shrink[2];
      running_softmax<kKeys>(s[set], shrink, rows[set], scale_log2);
      rescale<D>(o[set], shrink);
    }
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      uint32_t p[kSets][4];
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        to_fragment_a(p[set], s[set][2 * n], s[set][2 * n + 1]);
      }
#pragma unroll
      for (int c = 0; c < D / 16; ++c) {
        uint32_t b[4];
        fragments_b_transposed<D>(b, v_tile, n * 16, c);
#pragma unroll
        for (int set = 0; set < kSets; ++set) {
          mma(o[set][2 * c], p[set], b[0], b[1]);
          mma(o[set][2 * c + 1], p[set], b[2], b[3]);
        }
      }
    }
  }

  // A warp's rows of q were its own: out goes there on its way to 16-byte stores.
#pragma unroll
  for (int set = 0; set < kSets; ++set) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = quad_sum(rows[set].sum[half]);
      inverse[half] = 1.0f / sum;
      const int at = first + warp_row + set * 16 + lane / 4 + 8 * half;
      if (f.lse != nullptr && lane % 4 == 0 && at <= last) {
        f.lse[int64_t{g * ratio + x.head_of(at)} * x.T + begin + x.token_of(at)] =
            rows[set].top[half] * f.scale + logf(sum);
      }
    }
    write_rows<D>(q_tile, warp_row + set * 16, o[set], inverse[0], inverse[1]);
  }
#pragma unroll 4
  for (int i = lane; i < 16 * kSets * (D / 8); i += kWarp) {
    const int r = warp_row + i / (D / 8), chunk = i % (D / 8), at = first + r;
    if (at > last) continue;
    const int64_t token = begin + x.token_of(at), head = g * ratio + x.head_of(at);
    *reinterpret_cast<uint4*>(f.out + token * f.ld_out + head * D + chunk * 8) =
        *reinterpret_cast<const uint4*>(chunk_of<D>(q_tile, r, chunk));
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

template <int D, int kKeys>
void launch(const ForwardCall& f, const ops::AttentionShape& shape, CudaDevice& device) {
  constexpr int kShared = static_cast<int>(shared_bytes<D, kKeys>());
  check(cudaFuncSetAttribute(forward_kernel<D, kKeys>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kShared),
        "attention_forward: shared memory");
  const dim3 grid(tile_numbers(shape, shape.Q / shape.G, kRows), static_cast<unsigned>(shape.G));
  forward_kernel<D, kKeys><<<grid, kBlock, kShared, device.stream()>>>(f, tokens_of(shape));
}

AttentionPath selected_path = AttentionPath::automatic;

// Two blocks of large tiles take 128 KB of a multiprocessor's shared memory.
AttentionPath best_path(const CudaDevice& device) {
  if (can_run_hopper(device)) return AttentionPath::hopper;
  return device.max_shared_bytes() >= 128 << 10 ? AttentionPath::large_tiles
                                                : AttentionPath::small_tiles;
}

}  // namespace

bool select_attention_path(AttentionPath path, Device& d) {
  if (path == AttentionPath::hopper && !can_run_hopper(cuda_device(d))) return false;
  selected_path = path;
  return true;
}

AttentionPath attention_path(const CudaDevice& device) {
  return selected_path == AttentionPath::automatic ? best_path(device) : selected_path;
}

bool check_head_dim(const ops::AttentionShape& shape) {
  if (shape.D > kPlainD) {
    throw Error(QLORA_ERROR_UNSUPPORTED, "head_dim must be at most " + std::to_string(kPlainD) +
                                             " in the CUDA build, found " +
                                             std::to_string(shape.D) +
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
  const AttentionPath path = attention_path(device);
  const ForwardCall f = {out, ld_out, lse, qkv, ld, scale};
  if (!tiled) {
    const int64_t rows = shape.T * shape.Q;
    forward_plain_kernel<<<static_cast<unsigned>(ceil_div(rows, kPlainWarps)), kPlainWarps * kWarp,
                           0, device.stream()>>>(out, ld_out, lse, qkv, ld, tokens_of(shape),
                                                 static_cast<int>(shape.D), scale);
  } else if (path == AttentionPath::hopper && shape.D == 128) {
    launch_forward_hopper(f, shape, device);
  } else if (path == AttentionPath::small_tiles) {
    shape.D == 128 ? launch<128, 32>(f, shape, device) : launch<64, 32>(f, shape, device);
  } else {
    shape.D == 128 ? launch<128, 64>(f, shape, device) : launch<64, 64>(f, shape, device);
  }
  check_launch("attention_forward");
}

}  // namespace qlora
