// kv_append: a row of qkv leaves its keys and values in its slot of the cache.
// attention_decode: one query row over the prefix and the first `length` tokens of its slot,
//   s[j] = q·k[j] / √D,  out = Σ softmax(s)[j] · v[j]
// A row's keys are cut in kSplits runs, a block each, that keep their running maximum, sum and
// Σ p · v; a second kernel joins the runs in order. Runs depend on the row's own number of keys, so
// a row has the same bits in any company, and launches do not depend on lengths, which stay on the
// device. The query heads of a key head are taken together: its keys are read once.
//
// Bytes: 4 · G · D a key; for the 8B and 500 keys 2 MB a row and layer, 16 µs a step over all
// layers at 4.2 TB/s.
#include <cmath>
#include <string>

#include "common.cuh"
#include "error.h"
#include "mma.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kSplits = 16;
constexpr int kWarps = 4;
constexpr int kBlock = kWarps * kWarp;
constexpr int kHeads = 4;          // query heads a block takes together
constexpr int kMostD = 256;
constexpr int kAhead = 4;          // keys a group of lanes loads together
constexpr int64_t kRows = 32;      // rows a launch takes, to bound the scratch
constexpr int kLeastRun = 32;      // keys

// ---- kv_append ----------------------------------------------------------------------------------

template <bool kAligned>
__global__ void append_kernel(ops::KvCache cache, const act_t* qkv, int64_t ld,
                              const int32_t* slot_of_row, const int32_t* position_in_slot,
                              int64_t rows, int64_t Q) {
  const int64_t width = cache.G * cache.D, chunks = ceil_div(2 * width, 8);
  for (int64_t i = first_item(); i < rows * chunks; i += item_stride()) {
    const int64_t row = i / chunks, c = i % chunks * 8;
    const int64_t slot = slot_of_row[row], position = position_in_slot[row];
    const int64_t at = (slot < 0 ? position : slot * cache.slot_capacity + position) * width;
    act_t* const k = slot < 0 ? cache.prefix_k : cache.k;
    act_t* const v = slot < 0 ? cache.prefix_v : cache.v;
    const act_t* const from = qkv + row * ld + Q * cache.D;  // keys, then values
    if constexpr (kAligned) {
      act_t* const to = c < width ? k + at + c : v + at + c - width;
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from + c);
    } else {
      for (int64_t j = c; j < c + 8 && j < 2 * width; ++j) {
        *(j < width ? k + at + j : v + at + j - width) = from[j];
      }
    }
  }
}

// ---- attention_decode ---------------------------------------------------------------------------

struct DecodeRows {
  const act_t* qkv;
  int64_t ld;
  const int32_t *slots, *lengths;
  int64_t prefix_length;
  int64_t Q;
};

// Key j of a row: of the prefix first, then of its slot.
struct RowKeys {
  const act_t *prefix_k, *prefix_v, *k, *v;  // at the key head's column
  int64_t prefix_length, count, width;

  __device__ const act_t* key(int64_t j) const {
    return j < prefix_length ? prefix_k + j * width : k + (j - prefix_length) * width;
  }
  __device__ const act_t* value(int64_t j) const {
    return j < prefix_length ? prefix_v + j * width : v + (j - prefix_length) * width;
  }
};

__device__ inline RowKeys keys_of(const ops::KvCache& cache, const DecodeRows& x, int64_t row,
                                  int64_t g) {
  const int64_t width = cache.G * cache.D, slot = x.slots[row];
  const int64_t base = (slot < 0 ? 0 : slot * cache.slot_capacity * width) + g * cache.D;
  return {cache.prefix_k + g * cache.D,
          cache.prefix_v + g * cache.D,
          (slot < 0 ? cache.prefix_k : cache.k) + base,
          (slot < 0 ? cache.prefix_v : cache.v) + base,
          x.prefix_length,
          x.prefix_length + x.lengths[row],
          width};
}

// Eight values of a head from column c on, zeros from D on.
template <bool kAligned>
__device__ inline uint4 read_eight(const act_t* row, int c, int D) {
  if (c >= D) return make_uint4(0, 0, 0, 0);
  if constexpr (kAligned) return *reinterpret_cast<const uint4*>(row + c);
  return pack8(load_first8(row + c, D - c));
}

// A group of kLanes lanes takes a key at a time, eight columns a lane: kLanes · 8 ≥ D. The groups of
// a block take the keys of a run in turns, and are joined in order at the end.
// partial [rows, Q, kSplits, D + 2]: Σ p · v, then the maximum (of s · log2 e) and Σ p.
template <int kLanes, bool kAligned>
__global__ void __launch_bounds__(kBlock)
    decode_kernel(float* partial, ops::KvCache cache, DecodeRows x, float scale_log2) {
  constexpr int kGroups = kBlock / kLanes;
  __shared__ float tops[kGroups], sums[kGroups];
  __shared__ float outs[kGroups][kLanes * 8];
  const int D = static_cast<int>(cache.D), ratio = static_cast<int>(x.Q / cache.G);
  const int sets = static_cast<int>(ceil_div(ratio, kHeads));  // of heads of a key head
  const int64_t row = blockIdx.z, g = blockIdx.y / sets;
  const int split = blockIdx.x, first_head = blockIdx.y % sets * kHeads;
  const int heads = min(kHeads, ratio - first_head);
  const RowKeys keys = keys_of(cache, x, row, g);
  const int64_t run = max(int64_t{kLeastRun}, ceil_div(keys.count, kSplits));
  const int64_t begin = split * run, end = min(begin + run, keys.count);
  const int group = threadIdx.x / kLanes, c = threadIdx.x % kLanes * 8;

  Float8 q[kHeads], o[kHeads];
  float top[kHeads], sum[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    o[h] = Float8{};
    top[h] = -INFINITY;
    sum[h] = 0.0f;
    q[h] = Float8{};
    if (h >= heads) continue;
    q[h] = unpack8(
        read_eight<kAligned>(x.qkv + row * x.ld + (g * ratio + first_head + h) * D, c, D));
#pragma unroll
    for (int i = 0; i < 8; ++i) q[h].v[i] *= scale_log2;
  }
  // Every group makes the same number of turns: the shuffles want whole warps.
  for (int64_t first = begin; first < end; first += kAhead * kGroups) {
    uint4 raw_k[kAhead], raw_v[kAhead];
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead) {
      const int64_t j = first + ahead * kGroups + group;
      raw_k[ahead] = raw_v[ahead] = make_uint4(0, 0, 0, 0);
      if (j >= end) continue;
      raw_k[ahead] = read_eight<kAligned>(keys.key(j), c, D);
      raw_v[ahead] = read_eight<kAligned>(keys.value(j), c, D);
    }
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead) {
      const bool valid = first + ahead * kGroups + group < end;
      const Float8 k = unpack8(raw_k[ahead]), v = unpack8(raw_v[ahead]);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        float s = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) s = fmaf(q[h].v[i], k.v[i], s);
#pragma unroll
        for (int offset = kLanes / 2; offset > 0; offset /= 2) {
          s += __shfl_xor_sync(kAllLanes, s, offset);
        }
        if (!valid) s = -INFINITY;
        const float most = fmaxf(top[h], s);
        const float base = most == -INFINITY ? 0.0f : most;  // no key yet
        const float shrink = exp2_approx(top[h] - base), p = exp2_approx(s - base);
        top[h] = most;
        sum[h] = fmaf(sum[h], shrink, p);
#pragma unroll
        for (int i = 0; i < 8; ++i) o[h].v[i] = fmaf(o[h].v[i], shrink, p * v.v[i]);
      }
    }
  }
  for (int h = 0; h < heads; ++h) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {  // registers have no run-time index
      if (i != h) continue;
      if (c == 0) {
        tops[group] = top[i];
        sums[group] = sum[i];
      }
#pragma unroll
      for (int e = 0; e < 8; ++e) outs[group][c + e] = o[i].v[e];
    }
    __syncthreads();
    float most = tops[0];
    for (int i = 1; i < kGroups; ++i) most = fmaxf(most, tops[i]);
    float* const to =
        partial + ((row * x.Q + g * ratio + first_head + h) * kSplits + split) * (D + 2);
    for (int column = threadIdx.x; column < D + 2; column += kBlock) {
      float joined = column == D ? most : 0.0f;
      for (int i = 0; i < kGroups && column != D; ++i) {
        if (tops[i] == -INFINITY) continue;  // the group saw no key
        const float share = exp2_approx(tops[i] - most);
        joined = fmaf(column < D ? outs[i][column] : sums[i], share, joined);
      }
      to[column] = joined;
    }
  }
}

// A block a (row, query head): the runs in order.
__global__ void join_kernel(act_t* out, int64_t ld_out, const float* partial, int64_t Q, int D) {
  const int64_t row = blockIdx.y, h = blockIdx.x;
  const float* const from = partial + (row * Q + h) * kSplits * (D + 2);
  float most = -INFINITY;
  for (int split = 0; split < kSplits; ++split) most = fmaxf(most, from[split * (D + 2) + D]);
  for (int c = threadIdx.x; c < D; c += blockDim.x) {
    float sum = 0.0f, total = 0.0f;
    for (int split = 0; split < kSplits; ++split) {
      const float* const run = from + split * (D + 2);
      if (run[D] == -INFINITY) continue;  // an empty run
      const float share = exp2_approx(run[D] - most);
      sum = fmaf(run[D + 1], share, sum);
      total = fmaf(run[c], share, total);
    }
    out[row * ld_out + h * D + c] = from_float<act_t>(total / sum);
  }
}

template <int kLanes>
void launch(float* partial, const ops::KvCache& cache, const DecodeRows& x, int64_t rows,
            bool aligned, CudaDevice& device) {
  const float scale_log2 =
      1.4426950408889634f / std::sqrt(static_cast<float>(cache.D));
  const int64_t sets = ceil_div(x.Q / cache.G, kHeads);
  const dim3 grid(kSplits, static_cast<unsigned>(cache.G * sets), static_cast<unsigned>(rows));
  if (aligned) {
    decode_kernel<kLanes, true>
        <<<grid, kBlock, 0, device.stream()>>>(partial, cache, x, scale_log2);
  } else {
    decode_kernel<kLanes, false>
        <<<grid, kBlock, 0, device.stream()>>>(partial, cache, x, scale_log2);
  }
  check_launch("attention_decode");
}

}  // namespace
}  // namespace cuda

void ops::kv_append(const KvCache& cache, const act_t* qkv, int64_t ld, const int32_t* slot_of_row,
                    const int32_t* position_in_slot, int64_t rows, int64_t Q, Device& d) {
  using namespace cuda;
  if (rows == 0) return;
  CudaDevice& device = cuda_device(d);
  const int64_t width = cache.G * cache.D;
  const bool aligned = rows_aligned(qkv, ld) && Q * cache.D % 8 == 0 &&
                       rows_aligned(cache.k, width) && rows_aligned(cache.v, width) &&
                       rows_aligned(cache.prefix_k, width) && rows_aligned(cache.prefix_v, width);
  const int64_t items = rows * ceil_div(2 * width, 8);
  const auto kernel = aligned ? append_kernel<true> : append_kernel<false>;
  kernel<<<blocks_for(items), kThreads, 0, device.stream()>>>(cache, qkv, ld, slot_of_row,
                                                              position_in_slot, rows, Q);
  check_launch("kv_append");
}

void ops::attention_decode(act_t* out, int64_t ld_out, const act_t* qkv, int64_t ld,
                           const KvCache& cache, const int32_t* slots, const int32_t* lengths,
                           int64_t prefix_length, int64_t rows, int64_t Q, Device& d) {
  using namespace cuda;
  if (rows == 0) return;
  if (cache.D > kMostD) {
    throw Error(QLORA_ERROR_UNSUPPORTED, "head_dim must be at most " + std::to_string(kMostD) +
                                             " in the CUDA build, found " +
                                             std::to_string(cache.D) +
                                             "; take the CPU build for this model");
  }
  CudaDevice& device = cuda_device(d);
  const int64_t width = cache.G * cache.D;
  const bool aligned = cache.D % 8 == 0 && rows_aligned(qkv, ld) && rows_aligned(cache.k, width) &&
                       rows_aligned(cache.v, width) && rows_aligned(cache.prefix_k, width) &&
                       rows_aligned(cache.prefix_v, width);
  const int64_t together = rows < kRows ? rows : kRows;
  float* const partial = static_cast<float*>(
      device.scratch(size_t(together * Q * kSplits * (cache.D + 2)) * sizeof(float)));
  for (int64_t first = 0; first < rows; first += kRows) {
    const int64_t count = rows - first < kRows ? rows - first : kRows;
    const DecodeRows x = {qkv + first * ld, ld, slots + first, lengths + first, prefix_length, Q};
    if (cache.D <= 64) {
      launch<8>(partial, cache, x, count, aligned, device);
    } else if (cache.D <= 128) {
      launch<16>(partial, cache, x, count, aligned, device);
    } else {
      launch<32>(partial, cache, x, count, aligned, device);
    }
    const dim3 grid(static_cast<unsigned>(Q), static_cast<unsigned>(count));
    join_kernel<<<grid, 128, 0, device.stream()>>>(out + first * ld_out, ld_out, partial, Q,
                                                   static_cast<int>(cache.D));
    check_launch("attention_decode: runs joined");
  }
}

}  // namespace qlora
