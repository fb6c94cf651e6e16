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
// A row is cut in chunks of kChunk ids, a block each; five launches, each followed, inside it, by
// what the last block of a row has to decide:
//   stats      the highest z and Σ e^z of each chunk, before and behind penalty and temperature
//   histogram  ids (top-k) and weights (top-p) in 1,024 slices below the highest z: the slice that
//              is cut
//   gather     that slice's ids, in which the last block finds the cut by the bits of z; twice,
//              since top-p counts what top-k has left
//   draw       the kept weight of each chunk: the chunk, then the token in it
// Nothing is sorted. Weights e^(z − max z) are counted in whole units of 2⁻⁴⁴, so that sums have no
// order, and neither atomic additions nor the order of a gathered list have influence on the bits.
#include <algorithm>

#include "common.cuh"
#include "last_block.cuh"
#include "philox.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kBlock = 512;
constexpr int kWarps = kBlock / kWarp;
constexpr int kResident = 3;  // blocks a multiprocessor
constexpr int kEach = 8;      // ids a thread
constexpr int kChunk = kBlock * kEach;
constexpr int64_t kRows = 64;  // a launch takes, to bound the scratch
constexpr int kSlices = 1024;  // of z, each 1/32 wide, the last holds all that lies lower
constexpr int kBins = 256;     // of eight bits of z
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

// e^(z − top), and in units.
__device__ inline float weight_of(float z, float top) { return isnan(z) ? 0.0f : expf(z - top); }
__device__ inline Units units_of(float z, float top) {
  return static_cast<Units>(weight_of(z, top) * kUnits);
}
__device__ inline int slice_of(float z, float top) {
  const float below = top - z;
  return below < kSlices / kSlicesPerOne ? static_cast<int>(below * kSlicesPerOne) : kSlices - 1;
}

// ---- what the launches leave for each other -----------------------------------------------------

struct ChunkStats {
  double sum;  // Σ e^(z − top), z as it came
  Units best;  // the highest z behind penalty and temperature: its key, then its id complemented
  float top;   // the highest z as it came
};
struct ChunkUnits {
  Units sure, ties;  // units above the cut, ids at it
};

enum Stage { kCutAtK, kCutAtP, kDraw, kChosen };
struct RowState {
  Units sums[kSlices];  // units
  uint32_t counts[kSlices];
  int stage;         // what comes next
  int slice;         // the cut is in
  uint32_t members;  // ids gathered
  Units above;       // ids (top-k) or units (top-p) in the slices above
  Units bound;       // where the cut is, counted from the highest z
  uint32_t least;    // key that top-k leaves
  uint32_t cut;      // kept are keys above, and the first `ties` ids at it
  Units ties;
  float top;  // the highest z behind penalty and temperature
};

struct Scratch {
  RowState* states;   // (rows)
  ChunkStats* stats;  // [rows, chunks]
  ChunkUnits* units;  // [rows, chunks]
  uint32_t* members;  // [rows, V] keys of the slice
  unsigned* tickets;  // (rows)
};

struct Rows {
  const float* logits;  // [rows, V]
  const ops::SamplingRow* settings;
  const int32_t* history;
  int V;
};

// ---- a chunk ------------------------------------------------------------------------------------

// Logits of one chunk after penalty and temperature, computed when read.
struct Chunk {
  const float* z;
  const uint32_t* seen;        // bit a token of the chunk: in the history; null without a penalty
  float penalty, temperature;  // temperature 0: none
  int begin, end;

  __device__ float operator[](int id) const { return change(z[id], id); }
  __device__ float change(float value, int id) const {
    if (seen != nullptr && (seen[(id - begin) / 32] >> ((id - begin) % 32) & 1u)) {
      value = value > 0.0f ? value / penalty : value * penalty;
    }
    return temperature > 0.0f ? value / temperature : value;
  }
  __device__ int id(int i) const { return begin + i * kBlock + static_cast<int>(threadIdx.x); }
};

// A thread's logits of a chunk as they came, all on their way at once; −∞ behind the last.
__device__ inline void load_logits(float (&z)[kEach], const Rows& x, int row, int chunk) {
  const float* const from = x.logits + int64_t{row} * x.V;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int id = chunk * kChunk + i * kBlock + static_cast<int>(threadIdx.x);
    z[i] = id < x.V ? from[id] : -INFINITY;
  }
}

// All threads call it. seen: kChunk bits of shared memory.
__device__ inline Chunk chunk_of(const Rows& x, int row, int chunk, uint32_t* seen) {
  const ops::SamplingRow& settings = x.settings[row];
  Chunk c = {x.logits + int64_t{row} * x.V,     nullptr,        settings.repetition_penalty,
             fmaxf(settings.temperature, 0.0f), chunk * kChunk, min(x.V, (chunk + 1) * kChunk)};
  if (c.penalty == 1.0f) return c;
  __syncthreads();
  for (int i = threadIdx.x; i < kChunk / 32; i += kBlock) seen[i] = 0;
  __syncthreads();
  for (int i = settings.history_begin + static_cast<int>(threadIdx.x); i < settings.history_end;
       i += kBlock) {
    const int id = x.history[i] - c.begin;
    if (id >= 0 && id < kChunk) atomicOr(&seen[id / 32], 1u << (id % 32));
  }
  __syncthreads();
  c.seen = seen;
  return c;
}

// ---- block-wide integers ------------------------------------------------------------------------

__device__ inline Units warp_highest(Units x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Units other = __shfl_xor_sync(kAllLanes, x, offset);
    x = other > x ? other : x;
  }
  return x;
}
__device__ inline Units warp_units(Units x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(kAllLanes, x, offset);
  }
  return x;
}

__device__ inline Units block_highest(Units x, Units* parts) {
  x = warp_highest(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = x;
  __syncthreads();
  for (int i = 0; i < kWarps; ++i) x = parts[i] > x ? parts[i] : x;
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

// Sums of units in shared memory as two words: an addition of 32 bits is one instruction, of 64 a
// loop in which threads take turns.
template <int kCount>
struct SharedSums {
  uint32_t low[kCount], high[kCount];

  __device__ void clear(int i) {
    low[i] = 0;
    high[i] = 0;
  }
  __device__ void add(int i, Units units) {
    const uint32_t word = static_cast<uint32_t>(units);
    const uint32_t before = atomicAdd(&low[i], word);
    const uint32_t above = static_cast<uint32_t>(units >> 32) + (before + word < before ? 1u : 0u);
    if (above > 0) atomicAdd(&high[i], above);
  }
  __device__ Units operator[](int i) const { return Units{high[i]} << 32 | low[i]; }
};

struct BinShared {
  Units parts[kWarps];
  int bin;
  Units above;
};

// The first bin at which the running sum reaches `target`, and the sum before it. Thread i brings
// the bins [i · kPer, (i + 1) · kPer).
template <int kPer>
__device__ inline void find_bin(const Units (&own)[kPer], Units target, BinShared& s) {
  Units all = 0;
#pragma unroll
  for (int i = 0; i < kPer; ++i) all += own[i];
  Units sum = warp_scan(all);
  __syncthreads();
  if (threadIdx.x % kWarp == kWarp - 1) s.parts[threadIdx.x / kWarp] = sum;
  __syncthreads();
  for (int i = 0; i < static_cast<int>(threadIdx.x) / kWarp; ++i) sum += s.parts[i];
  Units before = sum - all;
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    if (before < target && before + own[i] >= target) {
      s.bin = static_cast<int>(threadIdx.x) * kPer + i;
      s.above = before;
    }
    before += own[i];
  }
  __syncthreads();
}

// The highest of a row, from its chunks' best.
__device__ inline Units best_of_row(const ChunkStats* stats, int chunks, Units* parts) {
  Units best = 0;
  for (int i = threadIdx.x; i < chunks; i += kBlock) best = max(best, stats[i].best);
  return block_highest(best, parts);
}

// ---- stats --------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kBlock) stats_kernel(Rows x, Scratch scratch) {
  let_next_begin();
  await_previous();
  __shared__ uint32_t seen[kChunk / 32];
  __shared__ Units parts[kWarps];
  const int row = blockIdx.y, chunk = blockIdx.x, chunks = gridDim.x;
  float z[kEach];
  load_logits(z, x, row, chunk);
  const Chunk c = chunk_of(x, row, chunk, seen);
  float top = -INFINITY;
#pragma unroll
  for (int i = 0; i < kEach; ++i) top = fmaxf(top, z[i]);
  top = block_max<kBlock>(top);
  const float base = top == -INFINITY ? 0.0f : top;
  float sum = 0.0f;
  Units best = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (c.id(i) >= c.end) continue;
    sum += expf(z[i] - base);
    best = max(best, Units{key_of(c.change(z[i], c.id(i)))} << 32 |
                         (0xffffffffu - static_cast<uint32_t>(c.id(i))));
  }
  const double total = block_sum<kBlock>(static_cast<double>(sum));
  best = block_highest(best, parts);
  if (threadIdx.x == 0) scratch.stats[int64_t{row} * chunks + chunk] = {total, best, top};
  RowState& state = scratch.states[row];
  for (int i = chunk * kBlock + threadIdx.x; i < kSlices; i += chunks * kBlock) {
    state.sums[i] = 0;
    state.counts[i] = 0;
  }
  if (chunk == 0 && threadIdx.x == 0) state.members = 0;
}

// ---- the result ---------------------------------------------------------------------------------

// Called by the first warp: the token, and its logarithm under softmax(z) as z came.
__device__ inline void store_choice(int32_t* tokens, float* logprobs, const Rows& x, int row,
                                    const ChunkStats* stats, int chunks, int token) {
  const int lane = threadIdx.x % kWarp;
  float top = -INFINITY;
  for (int i = lane; i < chunks; i += kWarp) top = fmaxf(top, stats[i].top);
  top = warp_max(top);
  double sum = 0.0;
  for (int i = lane; i < chunks; i += kWarp) {
    sum += stats[i].sum * exp(static_cast<double>(stats[i].top) - static_cast<double>(top));
  }
  sum = warp_sum(sum);
  if (lane != 0) return;
  tokens[row] = token;
  logprobs[row] = static_cast<float>(static_cast<double>(x.logits[int64_t{row} * x.V + token]) -
                                     static_cast<double>(top) - log(sum));
}

// ---- histogram ----------------------------------------------------------------------------------

// The slice where top-p cuts and what lies above it. own: the units of slices 2i, 2i + 1 of thread
// i; total: of all that top-k leaves.
__device__ inline void cut_at_p(RowState& state, const Units (&own)[2], Units total, float top_p,
                                BinShared& shared) {
  const Units share = static_cast<Units>(static_cast<double>(top_p) * static_cast<double>(total));
  const Units bound = max(Units{1}, min(share, total));
  find_bin(own, bound, shared);
  if (threadIdx.x != 0) return;
  state.stage = kCutAtP;
  state.bound = bound;
  state.slice = shared.bin;
  state.above = shared.above;
}

__global__ void __launch_bounds__(kBlock, kResident)
    histogram_kernel(int32_t* tokens, float* logprobs, Rows x, Scratch scratch) {
  let_next_begin();
  await_previous();
  static_assert(kSlices == 2 * kBlock, "a thread takes two slices");
  __shared__ SharedSums<kSlices> sums;
  __shared__ uint32_t counts[kSlices];
  __shared__ uint32_t seen[kChunk / 32];
  __shared__ BinShared shared;
  const int row = blockIdx.y, chunk = blockIdx.x, chunks = gridDim.x;
  float z[kEach];
  load_logits(z, x, row, chunk);
  const ops::SamplingRow settings = x.settings[row];
  const ChunkStats* const stats = scratch.stats + int64_t{row} * chunks;
  RowState& state = scratch.states[row];
  const Units best = best_of_row(stats, chunks, shared.parts);
  const uint32_t best_key = static_cast<uint32_t>(best >> 32);
  const float top = best_key == 0 ? -INFINITY : value_of(best_key);
  if (settings.temperature <= 0.0f || isinf(top)) {  // the highest itself
    if (chunk > 0 || threadIdx.x >= kWarp) return;
    if (threadIdx.x == 0) state.stage = kChosen;
    store_choice(tokens, logprobs, x, row, stats, chunks,
                 static_cast<int>(0xffffffffu - static_cast<uint32_t>(best)));
    return;
  }
  const bool at_k = settings.top_k > 0 && settings.top_k < x.V, at_p = settings.top_p < 1.0f;
  if (chunk == 0 && threadIdx.x == 0) {
    state.stage = kDraw;  // unless the last block finds a cut
    state.least = 0;
    state.cut = 0;
    state.ties = 0;
    state.top = top;
  }
  if (!at_k && !at_p) return;
  for (int i = threadIdx.x; i < kSlices; i += kBlock) {
    sums.clear(i);
    counts[i] = 0;
  }
  const Chunk c = chunk_of(x, row, chunk, seen);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (c.id(i) >= c.end) continue;
    const float changed = c.change(z[i], c.id(i));
    const int slice = slice_of(changed, top);
    const Units units = at_p ? units_of(changed, top) : 0;
    if (units > 0) sums.add(slice, units);
    if (at_k) atomicAdd(&counts[slice], 1u);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kSlices; i += kBlock) {
    if (sums[i] > 0) atomicAdd(&state.sums[i], sums[i]);
    if (counts[i] > 0) atomicAdd(&state.counts[i], counts[i]);
  }
  if (!is_last_block(scratch.tickets + row, chunks)) return;
  Units own[2];
  const int first = 2 * static_cast<int>(threadIdx.x);
  if (at_k) {
    own[0] = __ldcg(&state.counts[first]);
    own[1] = __ldcg(&state.counts[first + 1]);
    find_bin(own, static_cast<Units>(settings.top_k), shared);
    if (threadIdx.x != 0) return;
    state.stage = kCutAtK;
    state.bound = static_cast<Units>(settings.top_k);
    state.slice = shared.bin;
    state.above = shared.above;
    return;
  }
  own[0] = __ldcg(&state.sums[first]);
  own[1] = __ldcg(&state.sums[first + 1]);
  cut_at_p(state, own, block_units(own[0] + own[1], shared.parts), settings.top_p, shared);
}

// ---- gather -------------------------------------------------------------------------------------

struct CutShared {
  SharedSums<kBins> sums;
  uint32_t counts[kBins];
  uint32_t keys[kBins];  // the highest; the only one where the count is 1
  BinShared bin;
};

// The key at which the units of the members in falling order of key reach `target`, and the units
// of the members above it. kWeights: a member holds its weight, else one unit. Keys below `least`
// are left out.
struct Cut {
  uint32_t key;
  Units above;
};

template <bool kWeights>
__device__ inline Cut cut_of(const uint32_t* members, int count, float top, uint32_t least,
                             Units target, CutShared& s) {
  uint32_t prefix = 0;  // the bits of the key found so far
  Units above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t known = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
    __syncthreads();
    for (int i = threadIdx.x; i < kBins; i += kBlock) {
      s.sums.clear(i);
      s.counts[i] = 0;
      s.keys[i] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += kBlock) {
      const uint32_t key = __ldcg(members + i);
      if (key < least || (key & known) != prefix) continue;
      const Units units = kWeights ? units_of(value_of(key), top) : 1;
      if (units == 0) continue;
      const int bin = 255 - (key >> shift & 255);
      s.sums.add(bin, units);
      atomicAdd(&s.counts[bin], 1u);
      atomicMax(&s.keys[bin], key);
    }
    __syncthreads();
    const Units own[1] = {threadIdx.x < kBins ? s.sums[threadIdx.x] : 0};
    find_bin(own, target - above, s.bin);
    const int bin = s.bin.bin;
    above += s.bin.above;
    prefix |= static_cast<uint32_t>(255 - bin) << shift;
    if (s.counts[bin] == 1) return {s.keys[bin], above};
  }
  return {prefix, above};
}

// Top-p's cut inside the slice whose members these are.
__device__ inline void finish_at_p(RowState& state, const uint32_t* members, int count,
                                   uint32_t least, CutShared& shared) {
  const Units bound = state.bound, before = state.above;
  const float top = state.top;
  const Cut cut = cut_of<true>(members, count, top, least, bound - before, shared);
  if (threadIdx.x != 0) return;
  const Units each = units_of(value_of(cut.key), top);
  state.stage = kDraw;
  state.cut = cut.key;
  state.ties = (bound - (before + cut.above) + each - 1) / each;
}

__global__ void __launch_bounds__(kBlock, kResident)
    gather_kernel(Stage stage, Rows x, Scratch scratch) {
  let_next_begin();
  await_previous();
  __shared__ uint32_t seen[kChunk / 32];
  __shared__ CutShared shared;
  const int row = blockIdx.y, chunk = blockIdx.x, chunks = gridDim.x;
  RowState& state = scratch.states[row];
  if (state.stage != stage) return;
  const int slice = state.slice;
  const float top = state.top;
  uint32_t* const members = scratch.members + int64_t{row} * x.V;
  float z[kEach];
  load_logits(z, x, row, chunk);
  const Chunk c = chunk_of(x, row, chunk, seen);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (c.id(i) >= c.end) continue;
    const float changed = c.change(z[i], c.id(i));
    if (slice_of(changed, top) == slice) {
      members[atomicAdd(&state.members, 1u)] = key_of(changed);
    }
  }
  if (!is_last_block(scratch.tickets + row, chunks)) return;
  const int count = static_cast<int>(__ldcg(&state.members));
  __syncthreads();
  if (stage == kCutAtP) {
    finish_at_p(state, members, count, state.least, shared);
    return;
  }
  const ops::SamplingRow settings = x.settings[row];
  const uint32_t least =
      cut_of<false>(members, count, top, 0, state.bound - state.above, shared).key;
  if (threadIdx.x == 0) {
    state.stage = kDraw;
    state.least = least;
    state.cut = least > 0 ? least - 1 : 0;
    state.ties = 0;
  }
  if (settings.top_p >= 1.0f) return;
  // What top-k leaves: the slices above, and of this one the keys from `least` on.
  Units left = 0;
  for (int i = threadIdx.x; i < count; i += kBlock) {
    const uint32_t key = __ldcg(members + i);
    if (key >= least) left += units_of(value_of(key), top);
  }
  left = block_units(left, shared.bin.parts);
  Units own[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int of = 2 * static_cast<int>(threadIdx.x) + i;
    own[i] = of < slice ? __ldcg(&state.sums[of]) : of == slice ? left : 0;
  }
  const Units total = block_units(own[0] + own[1], shared.bin.parts);
  cut_at_p(state, own, total, settings.top_p, shared.bin);
  __syncthreads();
  if (state.slice == slice) {
    finish_at_p(state, members, count, least, shared);
  } else if (threadIdx.x == 0) {
    state.members = 0;
  }
}

// ---- draw ---------------------------------------------------------------------------------------

__device__ inline double uniform(uint64_t seed, uint32_t counter) {
  const PhiloxWords words =
      philox(counter, 0, 0, 0, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const uint64_t bits = uint64_t{words.word[0] >> 5} << 26 | words.word[1] >> 6;
  return static_cast<double>(bits) * (1.0 / 9007199254740992.0);  // 2⁻⁵³
}

__device__ inline Units kept_units(float z, float top, float least_p) {
  const float p = weight_of(z, top);
  return p < least_p ? 0 : static_cast<Units>(p * kUnits);
}

// Finds in `count` runs of ids the one that holds unit `target`, which becomes the unit inside it;
// ties_before: ids at the cut before that run. By one warp; read(i): the units of run i.
template <class Read>
__device__ inline int find_run(int count, const Read& read, Units ties, Units tie_units,
                               Units& target, Units& ties_before) {
  const int lane = threadIdx.x % kWarp;
  Units before = 0, tied = ties_before;
  for (int first = 0;; first += kWarp) {
    const int i = first + lane;
    const ChunkUnits run = i < count ? read(i) : ChunkUnits{0, 0};
    const Units ties_to = warp_scan(run.ties) + tied, ties_from = ties_to - run.ties;
    const Units left = ties > ties_from ? ties - ties_from : 0;
    const Units own = run.sure + min(left, run.ties) * tie_units;
    const Units sum = warp_scan(own) + before;
    const unsigned passed = __ballot_sync(kAllLanes, i < count && sum > target);
    if (passed != 0) {
      const int lane_of = __ffs(static_cast<int>(passed)) - 1;
      target -= __shfl_sync(kAllLanes, sum - own, lane_of);
      ties_before = __shfl_sync(kAllLanes, ties_from, lane_of);
      return first + lane_of;
    }
    before = __shfl_sync(kAllLanes, sum, kWarp - 1);
    tied = __shfl_sync(kAllLanes, ties_to, kWarp - 1);
  }
}

struct DrawShared {
  ChunkUnits runs[kWarps];
  Units target, ties_before;
  int run;
};

// The units of a warp's run of a chunk's ids.
__device__ inline ChunkUnits run_units(const Chunk& c, int begin, int end, const RowState& state,
                                       float least_p) {
  ChunkUnits sum = {0, 0};
  for (int id = begin + static_cast<int>(threadIdx.x) % kWarp; id < end; id += kWarp) {
    const float z = c[id];
    const uint32_t key = key_of(z);
    if (key > state.cut) sum.sure += kept_units(z, state.top, least_p);
    if (key == state.cut) ++sum.ties;
  }
  return {warp_units(sum.sure), warp_units(sum.ties)};
}

__global__ void __launch_bounds__(kBlock, kResident)
    draw_kernel(int32_t* tokens, float* logprobs, Rows x, Scratch scratch) {
  let_next_begin();
  await_previous();
  __shared__ uint32_t seen[kChunk / 32];
  __shared__ Units parts[kWarps];
  __shared__ DrawShared shared;
  const int row = blockIdx.y, chunks = gridDim.x;
  const RowState& state = scratch.states[row];
  if (state.stage == kChosen) return;
  const ops::SamplingRow settings = x.settings[row];
  const uint32_t cut = state.cut;
  const float top = state.top;
  ChunkUnits* const all = scratch.units + int64_t{row} * chunks;
  {
    float z[kEach];
    load_logits(z, x, row, blockIdx.x);
    const Chunk c = chunk_of(x, row, blockIdx.x, seen);
    Units sure = 0, ties = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (c.id(i) >= c.end) continue;
      const float changed = c.change(z[i], c.id(i));
      const uint32_t key = key_of(changed);
      if (key > cut) sure += kept_units(changed, top, settings.min_p);
      if (key == cut) ++ties;
    }
    sure = block_units(sure, parts);
    ties = block_units(ties, parts);
    if (threadIdx.x == 0) all[blockIdx.x] = {sure, ties};
  }
  if (!is_last_block(scratch.tickets + row, chunks)) return;

  // The chunk, the warp's run in it, the token.
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const Units tie_units =
      state.ties > 0 ? kept_units(value_of(cut), top, settings.min_p) : Units{0};
  const auto of_chunk = [&](int i) {
    return ChunkUnits{__ldcg(&all[i].sure), __ldcg(&all[i].ties)};
  };
  if (warp == 0) {
    Units sure = 0, ties = 0;
    for (int i = lane; i < chunks; i += kWarp) {
      sure += of_chunk(i).sure;
      ties += of_chunk(i).ties;
    }
    const Units total = warp_units(sure) + min(state.ties, warp_units(ties)) * tie_units;
    Units target =
        static_cast<Units>(uniform(settings.seed, settings.counter) * static_cast<double>(total));
    if (target >= total) target = total - 1;
    Units ties_before = 0;
    const int chunk = find_run(chunks, of_chunk, state.ties, tie_units, target, ties_before);
    if (lane == 0) {
      shared.run = chunk;
      shared.target = target;
      shared.ties_before = ties_before;
    }
  }
  __syncthreads();
  const Chunk c = chunk_of(x, row, shared.run, seen);
  constexpr int kSpan = kChunk / kWarps;
  const int begin = min(c.end, c.begin + warp * kSpan), end = min(c.end, begin + kSpan);
  const ChunkUnits run = run_units(c, begin, end, state, settings.min_p);
  if (lane == 0) shared.runs[warp] = run;
  __syncthreads();
  if (warp != 0) return;
  Units target = shared.target, ties_before = shared.ties_before;
  const int of_run = find_run(
      kWarps, [&](int i) { return shared.runs[i]; }, state.ties, tie_units, target, ties_before);
  const int first = c.begin + of_run * kSpan, last = min(c.end, first + kSpan);
  const int token =
      first + find_run(
                  last - first,
                  [&](int i) {
                    const float z = c[first + i];
                    const uint32_t key = key_of(z);
                    return ChunkUnits{key > cut ? kept_units(z, top, settings.min_p) : 0,
                                      Units{key == cut}};
                  },
                  state.ties, tie_units, target, ties_before);
  store_choice(tokens, logprobs, x, row, scratch.stats + int64_t{row} * chunks, chunks, token);
}

// Cuts `bytes` for each row off a block, a multiple of 16.
template <class T>
T* take(char*& block, int64_t count) {
  T* const taken = reinterpret_cast<T*>(block);
  block += ceil_div(count * int64_t{sizeof(T)}, 16) * 16;
  return taken;
}

}  // namespace
}  // namespace cuda

void ops::sample(int32_t* tokens, float* logprobs, float* logits, const SamplingRow* rows_settings,
                 const int32_t* history, int64_t rows, int64_t V, Device& d) {
  using namespace cuda;
  if (rows == 0) return;
  CudaDevice& device = cuda_device(d);
  const int64_t chunks = ceil_div(V, kChunk), together = std::min(rows, kRows);
  const auto scratch_at = [&](char* block) {
    Scratch scratch;
    scratch.states = take<RowState>(block, together);
    scratch.stats = take<ChunkStats>(block, together * chunks);
    scratch.units = take<ChunkUnits>(block, together * chunks);
    scratch.members = take<uint32_t>(block, together * V);
    scratch.tickets = reinterpret_cast<unsigned*>(block);  // the end, for the size
    return scratch;
  };
  const size_t bytes = reinterpret_cast<size_t>(scratch_at(nullptr).tickets);
  Scratch scratch = scratch_at(static_cast<char*>(device.scratch(bytes)));
  scratch.tickets = device.tickets(together);
  for (int64_t first = 0; first < rows; first += kRows) {
    const dim3 grid(static_cast<unsigned>(chunks),
                    static_cast<unsigned>(std::min(kRows, rows - first)));
    const Rows x = {logits + first * V, rows_settings + first, history, static_cast<int>(V)};
    int32_t* const chosen = tokens + first;
    float* const of_chosen = logprobs + first;
    launch_early(stats_kernel, grid, kBlock, 0, device, x, scratch);
    launch_early(histogram_kernel, grid, kBlock, 0, device, chosen, of_chosen, x, scratch);
    launch_early(gather_kernel, grid, kBlock, 0, device, kCutAtK, x, scratch);
    launch_early(gather_kernel, grid, kBlock, 0, device, kCutAtP, x, scratch);
    launch_early(draw_kernel, grid, kBlock, 0, device, chosen, of_chosen, x, scratch);
    check_launch("sample");
  }
}

}  // namespace qlora
