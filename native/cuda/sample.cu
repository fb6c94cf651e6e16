// sample, a row of logits z, in the order of transformers:
//   penalty      z ← z / r where z > 0, z · r elsewhere, once for each id in the history
//   temperature  z ← z / temperature; 0 takes the highest z now, the lowest id on ties
//   top-k        keeps z ≥ the k-th highest
//   top-p        keeps an id when the ids above it hold less than top_p (ties: lower ids first)
//   min-p        keeps p ≥ min_p · max p
// and then takes the first kept id, in id order, at which the running sum of e^z exceeds u · Σ e^z,
// u = ((word 0 >> 5) · 2²⁶ + (word 1 >> 6)) · 2⁻⁵³ of philox(counter (counter, 0, 0, 0), key seed).
// logprob: of the token under softmax(z) as z came. A NaN logit is never taken.
//
// A block a row. Nothing is sorted: top-k and top-p are thresholds on z, found by a histogram of
// 1,024 slices below the highest z and then, inside one slice, by the bits of z; few rows need more
// than two readings. Weights e^(z − max z) are counted in whole units of 2⁻⁴⁴, so that sums have no
// order and atomic additions of them no influence on the bits.
#include <algorithm>

#include "common.cuh"
#include "philox.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kBlock = 1024;
constexpr int kWarps = kBlock / kWarp;
constexpr int kSlices = 1024;      // of z, each 1/32 wide, the last holds all that lies lower
constexpr float kSlicesPerOne = 32.0f;
constexpr float kUnits = 17592186044416.0f;  // 2⁴⁴, of the highest weight; 2²⁰ of them fit 64 bits
using Units = unsigned long long;

// Floats in their order as integers; NaN lies below −∞, −0 and 0 are the same.
__device__ inline uint32_t key_of(float z) {
  if (isnan(z)) return 0;
  const uint32_t bits = __float_as_uint(z + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float value_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A row's logits after penalty and temperature, computed when read: z itself stays as it came.
struct Logits {
  const float* z;
  const uint32_t* seen;  // bit a token: in the history; null without a penalty
  float penalty, temperature;  // temperature 0: none
  int V;
  float top;  // the highest

  __device__ float operator[](int id) const {
    float value = z[id];
    if (seen != nullptr && (seen[id / 32] >> (id % 32) & 1u)) {
      value = value > 0.0f ? value / penalty : value * penalty;
    }
    if (temperature > 0.0f) value = value / temperature;
    return value;
  }
  __device__ float weight(float value) const {
    return isnan(value) ? 0.0f : expf(value - top);
  }
  __device__ Units units(float value) const {
    return static_cast<Units>(weight(value) * kUnits);
  }
  __device__ int slice(float value) const {
    const float below = top - value;
    return below < kSlices / kSlicesPerOne ? static_cast<int>(below * kSlicesPerOne) : kSlices - 1;
  }
};

// ---- block-wide integers ------------------------------------------------------------------------

__device__ inline Units highest_of_block(Units x, Units* parts) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Units other = __shfl_xor_sync(kAllLanes, x, offset);
    x = other > x ? other : x;
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) x = parts[i] > x ? parts[i] : x;
  return x;
}

__device__ inline Units warp_units(Units x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}

__device__ inline Units block_units(Units x, Units* parts) {
  x = warp_units(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  x = 0;
  for (int i = 0; i < kWarps; ++i) x += parts[i];
  return x;
}

// The sum of x over the lanes up to this one.
__device__ inline Units warp_scan(Units x) {
  const int lane = threadIdx.x % kWarp;
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const Units other = __shfl_up_sync(kAllLanes, x, offset);
    if (lane >= offset) x += other;
  }
  return x;
}

// ---- selection ----------------------------------------------------------------------------------

struct SelectShared {
  Units sums[kSlices];
  uint32_t counts[kSlices];
  uint32_t keys[kSlices];  // of one member; of the only one where the count is 1
  Units parts[kWarps];
  int bin;
  Units above;
};

// Sets s.bin to the first bin at which the running sum reaches `target`, s.above to the sum before.
__device__ inline void find_bin(SelectShared& s, Units target) {
  __syncthreads();
  const Units own = s.sums[threadIdx.x];
  Units sum = warp_scan(own);
  if (threadIdx.x % kWarp == kWarp - 1) s.parts[threadIdx.x / kWarp] = sum;
  __syncthreads();
  for (int i = 0; i < static_cast<int>(threadIdx.x) / kWarp; ++i) sum += s.parts[i];
  if (sum - own < target && sum >= target) {
    s.bin = threadIdx.x;
    s.above = sum - own;
  }
  __syncthreads();
}

__device__ inline void clear(SelectShared& s) {
  __syncthreads();
  s.sums[threadIdx.x] = 0;
  s.counts[threadIdx.x] = 0;
  __syncthreads();
}

__device__ inline void count(SelectShared& s, int bin, Units units, uint32_t key) {
  atomicAdd(&s.sums[bin], units);
  atomicAdd(&s.counts[bin], 1u);
  s.keys[bin] = key;
}

// The key at which the units of the ids in falling order of key reach `target`, and the units of
// the ids above it. kWeights: an id holds its weight, else one unit. Ids below `least` are left out.
struct Cut {
  uint32_t key;
  Units above;
};

template <bool kWeights>
__device__ inline Cut select(const Logits& z, uint32_t least, Units target, SelectShared& s) {
  clear(s);
  for (int id = threadIdx.x; id < z.V; id += kBlock) {
    const float value = z[id];
    const uint32_t key = key_of(value);
    const Units units = kWeights ? z.units(value) : 1;
    if (key >= least && units > 0) count(s, z.slice(value), units, key);
  }
  find_bin(s, target);
  const int slice = s.bin;
  Units above = s.above;
  if (s.counts[slice] == 1) return {s.keys[slice], above};
  uint32_t prefix = 0;  // the bits of the key found so far
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t known = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
    clear(s);
    for (int id = threadIdx.x; id < z.V; id += kBlock) {
      const float value = z[id];
      const uint32_t key = key_of(value);
      if (key < least || (key & known) != prefix || z.slice(value) != slice) continue;
      const Units units = kWeights ? z.units(value) : 1;
      if (units > 0) count(s, 255 - (key >> shift & 255), units, key);
    }
    find_bin(s, target - above);
    const int bin = s.bin;
    above += s.above;
    prefix |= static_cast<uint32_t>(255 - bin) << shift;
    if (s.counts[bin] == 1) return {s.keys[bin], above};
  }
  return {prefix, above};
}

// ---- the draw -----------------------------------------------------------------------------------

// What is kept: keys above `cut`, the first `ties` ids whose key is `cut`; of weight least_p or more.
struct Kept {
  uint32_t cut;
  Units ties;
  float least_p;
};

struct DrawShared {
  Units sure[kWarps], ties[kWarps];
  Units target, ties_before;  // inside the warp that holds the token
  int warp;
  int token;
};

__device__ inline Units kept_units(const Logits& z, float value, float least_p) {
  const float p = z.weight(value);
  return p < least_p ? 0 : static_cast<Units>(p * kUnits);
}

// Every warp owns a run of ids: first the units of each run, then the token inside one.
__device__ inline int draw(const Logits& z, const Kept& kept, double u, DrawShared& s) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int span = static_cast<int>(ceil_div(z.V, kBlock)) * kWarp;
  const int begin = min(z.V, warp * span), end = min(z.V, begin + span);
  Units sure = 0, ties = 0;
  for (int id = begin + lane; id < end; id += kWarp) {
    const float value = z[id];
    const uint32_t key = key_of(value);
    if (key > kept.cut) sure += kept_units(z, value, kept.least_p);
    if (key == kept.cut) ++ties;
  }
  sure = warp_units(sure);
  ties = warp_units(ties);
  __syncthreads();
  if (lane == 0) {
    s.sure[warp] = sure;
    s.ties[warp] = ties;
  }
  __syncthreads();
  const Units tie_units = kept.ties > 0 ? kept_units(z, value_of(kept.cut), kept.least_p) : 0;
  if (threadIdx.x == 0) {
    Units before = 0, total = 0;
    for (int i = 0; i < kWarps; ++i) {
      const Units left = kept.ties > before ? kept.ties - before : 0;
      total += s.sure[i] + min(left, s.ties[i]) * tie_units;
      before += s.ties[i];
    }
    Units target = static_cast<Units>(u * static_cast<double>(total));
    if (target >= total) target = total - 1;
    before = 0;
    s.warp = kWarps - 1;
    for (int i = 0; i < kWarps; ++i) {
      const Units left = kept.ties > before ? kept.ties - before : 0;
      const Units own = s.sure[i] + min(left, s.ties[i]) * tie_units;
      if (target < own) {
        s.warp = i;
        break;
      }
      target -= own;
      before += s.ties[i];
    }
    s.target = target;
    s.ties_before = before;
  }
  __syncthreads();
  if (warp == s.warp) {
    Units run = 0, ties_run = s.ties_before;
    int token = -1;
    for (int first = begin; first < end && token < 0; first += kWarp) {
      const int id = first + lane;
      const float value = id < end ? z[id] : -INFINITY;
      const uint32_t key = id < end ? key_of(value) : 0;
      const bool tie = id < end && key == kept.cut;
      const unsigned tied = __ballot_sync(kAllLanes, tie);
      const Units rank = ties_run + __popc(tied & ((1u << lane) - 1));
      Units own = 0;
      if (id < end && key > kept.cut) own = kept_units(z, value, kept.least_p);
      if (tie && rank < kept.ties) own = tie_units;
      const Units sum = warp_scan(own);
      const unsigned passed = __ballot_sync(kAllLanes, run + sum > s.target);
      if (passed != 0) token = first + __ffs(static_cast<int>(passed)) - 1;
      run += __shfl_sync(kAllLanes, sum, kWarp - 1);
      ties_run += __popc(tied);
    }
    if (lane == 0) s.token = token;
  }
  __syncthreads();
  return s.token;
}

// ---- a row --------------------------------------------------------------------------------------

// The id of the highest z, the lowest on ties, complemented in the low half; its key in the high.
__device__ inline Units highest(const Logits& z, Units* parts) {
  Units best = 0;
  for (int id = threadIdx.x; id < z.V; id += kBlock) {
    const Units candidate = Units{key_of(z[id])} << 32 | (0xffffffffu - static_cast<uint32_t>(id));
    best = candidate > best ? candidate : best;
  }
  return highest_of_block(best, parts);
}

__device__ inline double uniform(uint64_t seed, uint32_t counter) {
  const PhiloxWords words = philox(counter, 0, 0, 0, static_cast<uint32_t>(seed),
                                   static_cast<uint32_t>(seed >> 32));
  const uint64_t bits = uint64_t{words.word[0] >> 5} << 26 | words.word[1] >> 6;
  return static_cast<double>(bits) * (1.0 / 9007199254740992.0);  // 2⁻⁵³
}

// Bits of the ids in the history; the block's own words of `seen`.
__device__ inline void mark_seen(uint32_t* seen, int words, const int32_t* history, int begin,
                                 int end) {
  for (int i = threadIdx.x; i < words; i += kBlock) seen[i] = 0;
  __syncthreads();
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kBlock) {
    const int32_t id = history[i];
    atomicOr(&seen[id / 32], 1u << (id % 32));
  }
  __syncthreads();
}

struct SampleShared {
  SelectShared select;
  DrawShared draw;
};

__device__ inline int choose(Logits& z, const ops::SamplingRow& row, SampleShared& shared) {
  const Units best = highest(z, shared.select.parts);
  const int best_id = static_cast<int>(0xffffffffu - static_cast<uint32_t>(best));
  const uint32_t best_key = static_cast<uint32_t>(best >> 32);
  z.top = best_key == 0 ? -INFINITY : value_of(best_key);
  if (z.temperature == 0.0f || isinf(z.top)) return best_id;
  uint32_t least = 0;
  if (row.top_k > 0 && row.top_k < z.V) {
    least = select<false>(z, 0, static_cast<Units>(row.top_k), shared.select).key;
  }
  Kept kept = {least > 0 ? least - 1 : 0, 0, row.min_p};
  if (row.top_p < 1.0f) {
    Units total = 0;
    for (int id = threadIdx.x; id < z.V; id += kBlock) {
      const float value = z[id];
      if (key_of(value) >= least) total += z.units(value);
    }
    total = block_units(total, shared.select.parts);
    const Units share = static_cast<Units>(static_cast<double>(row.top_p) *
                                           static_cast<double>(total));
    const Units bound = max(Units{1}, min(share, total));
    const Cut cut = select<true>(z, least, bound, shared.select);
    const Units each = z.units(value_of(cut.key));
    kept.cut = cut.key;
    kept.ties = (bound - cut.above + each - 1) / each;
  }
  return draw(z, kept, uniform(row.seed, row.counter), shared.draw);
}

__global__ void __launch_bounds__(kBlock)
    sample_kernel(int32_t* tokens, float* logprobs, const float* logits,
                  const ops::SamplingRow* rows, const int32_t* history, uint32_t* seen, int V) {
  __shared__ SampleShared shared;
  const ops::SamplingRow row = rows[blockIdx.x];
  const int words = (V + 31) / 32;
  Logits z = {logits + int64_t{blockIdx.x} * V, nullptr, 1.0f, 0.0f, V, 0.0f};
  float top = -INFINITY;
  for (int id = threadIdx.x; id < V; id += kBlock) top = fmaxf(top, z.z[id]);
  top = block_max<kBlock>(top);
  double sum = 0.0;
  for (int id = threadIdx.x; id < V; id += kBlock) sum += static_cast<double>(expf(z.z[id] - top));
  sum = block_sum<kBlock>(sum);
  if (row.repetition_penalty != 1.0f) {
    uint32_t* const own = seen + int64_t{blockIdx.x} * words;
    mark_seen(own, words, history, row.history_begin, row.history_end);
    z.seen = own;
    z.penalty = row.repetition_penalty;
  }
  z.temperature = fmaxf(row.temperature, 0.0f);
  const int token = choose(z, row, shared);
  if (threadIdx.x != 0) return;
  tokens[blockIdx.x] = token;
  logprobs[blockIdx.x] = static_cast<float>(static_cast<double>(z.z[token]) -
                                            static_cast<double>(top) - log(sum));
}

}  // namespace
}  // namespace cuda

void ops::sample(int32_t* tokens, float* logprobs, float* logits, const SamplingRow* rows_settings,
                 const int32_t* history, int64_t rows, int64_t V, Device& d) {
  using namespace cuda;
  if (rows == 0) return;
  CudaDevice& device = cuda_device(d);
  uint32_t* const seen =
      static_cast<uint32_t*>(device.scratch(size_t(rows * ceil_div(V, 32)) * sizeof(uint32_t)));
  sample_kernel<<<static_cast<unsigned>(rows), kBlock, 0, device.stream()>>>(
      tokens, logprobs, logits, rows_settings, history, seen, static_cast<int>(V));
  check_launch("sample");
}

}  // namespace qlora
