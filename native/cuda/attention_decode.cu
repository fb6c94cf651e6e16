// kv_append: a row of qkv leaves its keys and values in its slot of the cache; kv_load: the
// reverse. attention_decode: q and k of a row turned (rope), k and v appended, then its query over
// the prefix and its slot,
//   s[j] = q·k[j] / √D,  out = Σ softmax(s)[j] · v[j]
// in one launch. The prefix's keys, and a slot's, are at most sixteen runs. A block takes one key
// head and a run of the prefix, or as many of one slot's as leave blocks enough, and of each run
// leaves its maximum, sum and Σ p · v. The last block of a slot and key head waits for the
// prefix's, which come first in the grid and wait for nothing, and joins the runs in their order.
// Runs depend on the number of keys alone, so a row has the same bits in any company, and launches
// do not depend on lengths, which stay on the device.
//
// 16 queries fill the tile of the tensor cores: the query heads of a key head, for the prefix those
// of several rows, which share its keys. A warp multiplies the queries with 16 of 64 keys, and then
// the weights of all 64 with its quarter of the values' columns.
//
// Bytes: 4 · G · D a key; for the 8B, a prefix of 336 and 64 slots of 170 keys 46 MB a layer, 11 µs
// at 4.26 TB/s.
#include <algorithm>
#include <cmath>
#include <string>

#include "attention.cuh"
#include "common.cuh"
#include "error.h"
#include "last_block.cuh"
#include "mma.cuh"

namespace qlora {
namespace cuda {
namespace {

// ---- kv_append, kv_load -------------------------------------------------------------------------

// Eight columns of the keys and values of a row of qkv, and their place in the cache.
template <bool kAligned, bool kAppend>
__device__ inline void move8(const ops::KvCache& cache, act_t* row, int64_t slot, int64_t position,
                             int64_t c) {
  const int64_t width = cache.G * cache.D;
  const int64_t at = (slot < 0 ? position : slot * cache.slot_capacity + position) * width;
  act_t* const k = (slot < 0 ? cache.prefix_k : cache.k) + at;
  act_t* const v = (slot < 0 ? cache.prefix_v : cache.v) + at;
  const auto move = [](auto* inside, auto* outside) {
    if (kAppend) {
      *outside = *inside;
    } else {
      *inside = *outside;
    }
  };
  if constexpr (kAligned) {
    act_t* const outside = c < width ? k + c : v + c - width;
    move(reinterpret_cast<uint4*>(row + c), reinterpret_cast<uint4*>(outside));
  } else {
    for (int64_t j = c; j < c + 8 && j < 2 * width; ++j) {
      move(row + j, j < width ? k + j : v + j - width);
    }
  }
}

template <bool kAligned>
__global__ void append_kernel(ops::KvCache cache, const act_t* qkv, int64_t ld,
                              const int32_t* slot_of_row, const int32_t* position_in_slot,
                              int64_t rows, int64_t Q) {
  const int64_t chunks = ceil_div(2 * cache.G * cache.D, 8);
  for (int64_t i = first_item(); i < rows * chunks; i += item_stride()) {
    const int64_t row = i / chunks;
    move8<kAligned, true>(cache, const_cast<act_t*>(qkv) + row * ld + Q * cache.D, slot_of_row[row],
                          position_in_slot[row], i % chunks * 8);
  }
}

template <bool kAligned>
__global__ void load_kernel(act_t* qkv, int64_t ld, ops::KvCache cache, int32_t slot, int64_t rows,
                            int64_t Q) {
  const int64_t chunks = ceil_div(2 * cache.G * cache.D, 8);
  for (int64_t i = first_item(); i < rows * chunks; i += item_stride()) {
    const int64_t row = i / chunks;
    move8<kAligned, false>(cache, qkv + row * ld + Q * cache.D, slot, row, i % chunks * 8);
  }
}

bool caches_aligned(const ops::KvCache& cache) {
  const int64_t width = cache.G * cache.D;
  return rows_aligned(cache.k, width) && rows_aligned(cache.v, width) &&
         rows_aligned(cache.prefix_k, width) && rows_aligned(cache.prefix_v, width);
}

// ---- attention_decode ---------------------------------------------------------------------------

constexpr int kWarps = 4, kBlock = kWarps * kWarp;
constexpr int kTileKeys = 64;
constexpr int kTileQueries = 16;
constexpr int kWeightsLd = kTileKeys + 8;  // rows in different banks
constexpr int kMostRuns = 16;              // of the prefix, of a slot
constexpr int kTilesTogether = 2;          // of queries that a block of the prefix takes
constexpr int64_t kRows = 64;              // a launch takes, to bound the scratch
constexpr int kMostD = 256;
constexpr int kBlocksOfSlots = 3;  // a multiprocessor, where the slots have as many runs

// Keys of a run, of `count` in all: whole tiles.
__host__ __device__ inline int run_keys(int count) {
  const int tiles = (count + kTileKeys - 1) / kTileKeys;
  return (tiles + kMostRuns - 1) / kMostRuns * kTileKeys;
}
__host__ __device__ inline int runs_of(int count) {
  return count == 0 ? 0 : (count + run_keys(count) - 1) / run_keys(count);
}

struct DecodeCall {
  act_t* out;
  int64_t ld_out;
  const act_t* qkv;
  int64_t ld;
  ops::KvCache cache;
  const int32_t *slots, *positions;
  const float *cos, *sin;
  int prefix_length;
  int rows, Q, G, D, ratio;
  int prefix_runs, slot_runs;          // a slot may have fewer
  int slot_blocks;                     // of a row and key head, which share the slot's runs
  int prefix_blocks, rows_of_a_block;  // of the prefix
  int tile_queries;                    // whole rows, or part of one
  bool out_aligned;
  float scale_log2;
  float* sums;        // [rows, Q, runs, kD]: Σ p · v
  float2* stats;      // [rows, Q, runs]: the maximum (of s · log2 e), Σ p
  unsigned* tickets;  // [2, rows, G]: the blocks of the slot that are done, and of the prefix

  __device__ int runs() const { return prefix_runs + slot_runs; }
};

// What a block works on.
struct Work {
  int g;
  int first_row, rows;
  const act_t *k, *v;
  int count;      // of keys
  int newest;     // the key that comes from qkv; −1 for the prefix
  int first_run;  // of the runs of a row that are the prefix's, or the slot's
  int run, step, end_run;
  int keys;  // of a run, but for the last

  __device__ int begin(int of) const { return of * keys; }
  __device__ int end(int of) const { return min((of + 1) * keys, count); }
};

// The tile of keys, and the first of the queries, that a block takes next.
struct Place {
  int run, query, key;

  // False behind the last.
  __device__ bool advance(const Work& work, int queries, int tile_queries) {
    key += kTileKeys;
    if (key < work.end(run)) return true;
    query += tile_queries;
    if (query >= queries) {
      query = 0;
      run += work.step;
    }
    key = work.begin(run);
    return run < work.end_run;
  }
};

// False where there is nothing to do.
__device__ inline bool find_work(Work& work, const DecodeCall& c) {
  const int width = c.G * c.D;
  int block = static_cast<int>(blockIdx.x);
  if (block < c.prefix_blocks) {
    work.g = block % c.G;
    block /= c.G;
    work.first_run = 0;
    work.run = block % c.prefix_runs;
    work.end_run = work.run + 1;
    work.first_row = block / c.prefix_runs * c.rows_of_a_block;
    work.rows = min(c.rows_of_a_block, c.rows - work.first_row);
    work.count = c.prefix_length;
    work.newest = -1;
    work.k = c.cache.prefix_k;
    work.v = c.cache.prefix_v;
  } else {
    block -= c.prefix_blocks;
    work.g = block % c.G;
    block /= c.G;
    work.first_run = c.prefix_runs;
    work.run = block % c.slot_blocks;
    work.first_row = block / c.slot_blocks;
    work.rows = 1;
    work.newest = c.positions[work.first_row];
    work.count = work.newest + 1;
    work.end_run = runs_of(work.count);
    const int64_t slot = c.slots[work.first_row] * c.cache.slot_capacity * width;
    work.k = c.cache.k + slot;
    work.v = c.cache.v + slot;
  }
  work.k += work.g * c.D;
  work.v += work.g * c.D;
  work.step = c.slot_blocks;
  work.keys = run_keys(work.count);
  return work.run < work.end_run;
}

// A head's D columns turned by the angle of a position, into a row of a tile of kD, by the threads
// [first, first + kD / 8) of the block; zeros where !valid and behind D. copy: null, or where the
// head goes in global memory besides.
template <int kD, bool kAligned>
__device__ inline void turn_head(act_t* tile, int row, int chunk, const act_t* x, int64_t angles,
                                 const DecodeCall& c, bool valid, act_t* copy) {
  const int half = c.D / 2;
  if (!valid || chunk * 8 >= c.D) {
    *reinterpret_cast<uint4*>(chunk_of<kD>(tile, row, chunk)) = make_uint4(0, 0, 0, 0);
    return;
  }
  const float *const cos = c.cos + angles, *const sin = c.sin + angles;
  if constexpr (kAligned) {
    if (chunk * 8 >= half) return;  // with its partner
    const Float8 low = load8(x + chunk * 8), high = load8(x + half + chunk * 8);
    const Float8 cosine = load8(cos + chunk * 8), sine = load8(sin + chunk * 8);
    Float8 turned_low, turned_high;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      turned_low.v[i] = low.v[i] * cosine.v[i] - high.v[i] * sine.v[i];
      turned_high.v[i] = high.v[i] * cosine.v[i] + low.v[i] * sine.v[i];
    }
    const uint4 packed_low = pack8(turned_low), packed_high = pack8(turned_high);
    *reinterpret_cast<uint4*>(chunk_of<kD>(tile, row, chunk)) = packed_low;
    *reinterpret_cast<uint4*>(chunk_of<kD>(tile, row, half / 8 + chunk)) = packed_high;
    if (copy == nullptr) return;
    *reinterpret_cast<uint4*>(copy + chunk * 8) = packed_low;
    *reinterpret_cast<uint4*>(copy + half + chunk * 8) = packed_high;
  } else {
    act_t* const to = chunk_of<kD>(tile, row, chunk);
    for (int i = 0; i < 8; ++i) {
      const int column = chunk * 8 + i, pair = column % half;
      if (column >= c.D) {
        to[i] = from_float<act_t>(0.0f);
        continue;
      }
      const float own = to_float(x[column]);
      const float other = to_float(x[column < half ? column + half : column - half]);
      const float signed_sine = column < half ? -sin[pair] : sin[pair];
      to[i] = from_float<act_t>(own * cos[pair] + other * signed_sine);
      if (copy != nullptr) copy[column] = to[i];
    }
  }
}

// Columns [8 · chunk, …) of a row of keys or values, into a tile; zeros behind D, or where !valid.
template <int kD, bool kAligned>
__device__ inline void copy_chunk(act_t* tile, int row, int chunk, const act_t* from, int D,
                                  bool valid) {
  act_t* const to = chunk_of<kD>(tile, row, chunk);
  valid = valid && chunk * 8 < D;
  if constexpr (kAligned) {
    copy16_async(to, valid ? from + chunk * 8 : from, valid);
  } else {
    for (int i = 0; i < 8; ++i) {
      to[i] = valid && chunk * 8 + i < D ? from[chunk * 8 + i] : from_float<act_t>(0.0f);
    }
  }
}

// The newest token's key, turned, or its value: into row `row` of its tile and into the cache.
template <int kD, bool kAligned>
__device__ inline void append_key(act_t* tile, int row, const Work& work, const DecodeCall& c) {
  if (threadIdx.x >= kD / 8) return;
  const act_t* const k = c.qkv + work.first_row * c.ld + (c.Q + work.g) * c.D;
  turn_head<kD, kAligned>(tile, row, threadIdx.x, k,
                          int64_t{c.prefix_length + work.newest} * (c.D / 2), c, true,
                          const_cast<act_t*>(work.k) + int64_t{work.newest} * c.G * c.D);
}
template <int kD, bool kAligned>
__device__ inline void append_value(act_t* tile, int row, const Work& work, const DecodeCall& c) {
  const int chunk = threadIdx.x;
  if (chunk >= kD / 8) return;
  const act_t* const v = c.qkv + work.first_row * c.ld + (c.Q + c.G + work.g) * c.D;
  act_t* const to = chunk_of<kD>(tile, row, chunk);
  act_t* const copy = const_cast<act_t*>(work.v) + int64_t{work.newest} * c.G * c.D + chunk * 8;
  if constexpr (kAligned) {
    const bool valid = chunk * 8 < c.D;
    const uint4 value =
        valid ? *reinterpret_cast<const uint4*>(v + chunk * 8) : make_uint4(0, 0, 0, 0);
    *reinterpret_cast<uint4*>(to) = value;
    if (valid) *reinterpret_cast<uint4*>(copy) = value;
  } else {
    for (int i = 0; i < 8; ++i) {
      const bool valid = chunk * 8 + i < c.D;
      to[i] = valid ? v[chunk * 8 + i] : from_float<act_t>(0.0f);
      if (valid) copy[i] = to[i];
    }
  }
}

// Starts copying the keys, or the values, of a place's tile.
template <int kD, bool kAligned, bool kValues>
__device__ inline void load_tile(act_t* tile, const Place& place, const Work& work,
                                 const DecodeCall& c) {
  constexpr int kChunks = kD / 8;
  const int64_t width = int64_t{c.G} * c.D;
  const act_t* const from = kValues ? work.v : work.k;
  const int end = work.end(place.run);
#pragma unroll 4
  for (int i = threadIdx.x; i < kTileKeys * kChunks; i += kBlock) {
    const int row = i / kChunks, key = place.key + row;
    if (key == work.newest) continue;
    const bool valid = key < end;
    copy_chunk<kD, kAligned>(tile, row, i % kChunks, from + (valid ? key * width : 0), c.D, valid);
  }
  const int row = work.newest - place.key;
  if (row < 0 || row >= kTileKeys || work.newest >= end) return;
  if constexpr (kValues) {
    append_value<kD, kAligned>(tile, row, work, c);
  } else {
    append_key<kD, kAligned>(tile, row, work, c);
  }
}

template <int kD>
constexpr int kDecodeBytes =
    ((2 * kTileKeys + kTileQueries) * kD + kTileQueries * kWeightsLd) * int{sizeof(act_t)};

// Of a row and key head: the runs in their order, as many loads at once as there are registers for.
template <int kD>
__device__ inline void join_runs(const DecodeCall& c, int row, int g) {
  constexpr int kTogether = 8;
  const int runs = c.prefix_runs + runs_of(c.positions[row] + 1);
  for (int item = threadIdx.x; item < c.ratio * (kD / 4); item += kBlock) {
    const int h = g * c.ratio + item / (kD / 4), column = item % (kD / 4) * 4;
    const int64_t at = (int64_t{row} * c.Q + h) * c.runs();
    float most = -INFINITY, total = 0.0f;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int first = 0; first < runs; first += kTogether) {
      float2 stats[kTogether];
      float4 more[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const int64_t run = at + min(first + i, runs - 1);
        stats[i] = __ldcg(c.stats + run);
        more[i] = __ldcg(reinterpret_cast<const float4*>(c.sums + run * kD + column));
      }
      const float before = most;
#pragma unroll
      for (int i = 0; i < kTogether; ++i) most = fmaxf(most, stats[i].x);
      const float shrink = exp2_approx(before - most);
      total *= shrink;
      sum.x *= shrink;
      sum.y *= shrink;
      sum.z *= shrink;
      sum.w *= shrink;
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (first + i >= runs) break;
        const float share = exp2_approx(stats[i].x - most);
        total = fmaf(stats[i].y, share, total);
        sum.x = fmaf(more[i].x, share, sum.x);
        sum.y = fmaf(more[i].y, share, sum.y);
        sum.z = fmaf(more[i].z, share, sum.z);
        sum.w = fmaf(more[i].w, share, sum.w);
      }
    }
    if (column >= c.D) continue;
    const float inverse = 1.0f / total;
    act_t* const to = c.out + row * c.ld_out + int64_t{h} * c.D + column;
    const float values[4] = {sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse};
    if (c.out_aligned) {
      *reinterpret_cast<uint2*>(to) =
          make_uint2(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (column + i < c.D) to[i] = from_float<act_t>(values[i]);
      }
    }
  }
}

// By one thread: until the prefix's blocks have left their runs of a row and key head. They have
// lower numbers in the grid, so all of them have begun.
__device__ inline void await_prefix(unsigned* ticket, unsigned blocks) {
  unsigned done;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(done) : "l"(ticket) : "memory");
  } while (done < blocks);
  *ticket = 0;
}

template <int kD, bool kAligned>
__global__ void __launch_bounds__(kBlock, kD <= 128 ? 5 : 3) decode_kernel(DecodeCall c) {
  constexpr int kUnits = kD / kWarps / 16;  // of 16 columns of v, a warp
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ float tops[kWarps][kTileQueries], parts[kWarps][kTileQueries];
  act_t* const k_tile = reinterpret_cast<act_t*>(shared);
  act_t* const v_tile = k_tile + kTileKeys * kD;
  act_t* const q_tile = v_tile + kTileKeys * kD;
  act_t* const weights = q_tile + kTileQueries * kD;  // [kTileQueries, kWeightsLd]
  let_next_begin();
  await_previous();
  Work work;
  if (!find_work(work, c)) return;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, t = lane % 4;
  const int queries = work.rows * c.ratio;

  // Keys of the next tile arrive while this one's weights are computed and its values are added,
  // values while the keys are multiplied.
  Place place = {work.run, 0, work.begin(work.run)};
  load_tile<kD, kAligned, false>(k_tile, place, work, c);
  copies_commit();
  int values_at = -1, turned = -1;  // the first of the values, of the queries, in shared memory
  float o[2 * kUnits][4] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  for (bool more = true; more;) {
    const int taken = min(c.tile_queries, queries - place.query), end = work.end(place.run);
    __syncthreads();  // the values, the queries and the weights are free
    if (values_at != place.key) load_tile<kD, kAligned, true>(v_tile, place, work, c);
    copies_commit();
    values_at = place.key;
    if (turned != place.query) {
      turned = place.query;
      for (int i = threadIdx.x; i < kTileQueries * (kD / 8); i += kBlock) {
        const int query = i / (kD / 8), of = place.query + min(query, taken - 1);
        const int row = work.first_row + of / c.ratio;
        const int64_t angles = int64_t{c.prefix_length + c.positions[row]} * (c.D / 2);
        turn_head<kD, kAligned>(q_tile, query, i % (kD / 8),
                                c.qkv + row * c.ld + (work.g * c.ratio + of % c.ratio) * c.D,
                                angles, c, query < taken, nullptr);
      }
    }
    copies_wait<1>();
    __syncthreads();

    float s[2][4] = {};
#pragma unroll
    for (int column = 0; column < kD / 16; ++column) {
      uint32_t a[4], b[4];
      fragment_a<kD>(a, q_tile, 0, column);
      fragments_b<kD>(b, k_tile, 16 * warp, column);
      mma(s[0], a, b[0], b[1]);
      mma(s[1], a, b[2], b[3]);
    }
    const int limit[2] = {end - 1, end - 1};
    mask_scores<16>(s, place.key + 16 * warp, limit);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = fmaxf(fmaxf(s[0][2 * half], s[0][2 * half + 1]),
                         fmaxf(s[1][2 * half], s[1][2 * half + 1]));
      most = quad_max(most);
      if (t == 0) tops[warp][g + 8 * half] = most;
    }
    __syncthreads();  // the keys are free
    Place next = place;
    more = next.advance(work, queries, c.tile_queries);
    if (more && next.key != place.key) load_tile<kD, kAligned, false>(k_tile, next, work, c);
    copies_commit();
    float shrink[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float most = top[half];
#pragma unroll
      for (int i = 0; i < kWarps; ++i) most = fmaxf(most, tops[i][g + 8 * half]);
      shrink[half] = exp2_approx((top[half] - most) * c.scale_log2);
      top[half] = most;
      const float shift = most * c.scale_log2;
      sum[half] *= shrink[half];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const float p0 = exp2_approx(fmaf(s[n][2 * half], c.scale_log2, -shift));
        const float p1 = exp2_approx(fmaf(s[n][2 * half + 1], c.scale_log2, -shift));
        sum[half] += p0 + p1;
        *reinterpret_cast<uint32_t*>(weights + (g + 8 * half) * kWeightsLd + 16 * warp + 8 * n +
                                     2 * t) = pack_bf16(p0, p1);
      }
    }
    copies_wait<1>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2 * kUnits; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) o[i][j] *= shrink[j / 2];
    }
#pragma unroll
    for (int keys = 0; keys < kTileKeys / 16; ++keys) {
      uint32_t a[4];
      load_matrices(a, weights + lane % 16 * kWeightsLd + keys * 16 + lane / 16 * 8);
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit) {
        uint32_t b[4];
        fragments_b_transposed<kD>(b, v_tile, 16 * keys, warp * kUnits + unit);
        mma(o[2 * unit], a, b[0], b[1]);
        mma(o[2 * unit + 1], a, b[2], b[3]);
      }
    }
    if (place.key + kTileKeys < end) {
      place = next;
      continue;
    }

    // The run's share of these queries.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float own = quad_sum(sum[half]);
      if (t == 0) parts[warp][g + 8 * half] = own;
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = g + 8 * half;
      if (query >= taken) continue;
      const int of = place.query + query, row = work.first_row + of / c.ratio;
      const int64_t at = (int64_t{row} * c.Q + work.g * c.ratio + of % c.ratio) * c.runs() +
                         work.first_run + place.run;
#pragma unroll
      for (int i = 0; i < 2 * kUnits; ++i) {
        const int column = warp * kUnits * 16 + i * 8 + 2 * t;
        *reinterpret_cast<float2*>(c.sums + at * kD + column) =
            make_float2(o[i][2 * half], o[i][2 * half + 1]);
      }
      if (warp > 0 || t > 0) continue;
      float total = parts[0][query];
#pragma unroll
      for (int i = 1; i < kWarps; ++i) total += parts[i][query];
      c.stats[at] = make_float2(top[half] * c.scale_log2, total);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      top[half] = -INFINITY;
      sum[half] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 2 * kUnits; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) o[i][j] = 0.0f;
    }
    place = next;
  }

  unsigned* const slot_ticket = c.tickets + work.first_row * c.G + work.g;
  unsigned* const prefix_ticket = slot_ticket + c.rows * c.G;
  if (work.newest < 0) {
    __threadfence();
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < work.rows) atomicAdd(prefix_ticket + threadIdx.x * c.G, 1u);
    return;
  }
  const int blocks = min(c.slot_blocks, work.end_run);
  if (!is_last_block(slot_ticket, static_cast<unsigned>(blocks))) return;
  if (threadIdx.x == 0) await_prefix(prefix_ticket, static_cast<unsigned>(c.prefix_runs));
  __syncthreads();
  __threadfence();
  join_runs<kD>(c, work.first_row, work.g);
}

template <int kD>
void launch(DecodeCall call, bool aligned, CudaDevice& device) {
  const auto kernel = aligned ? decode_kernel<kD, true> : decode_kernel<kD, false>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kDecodeBytes<kD>),
        "attention_decode: shared memory");
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),  // as the products beside it have it
        "attention_decode: shared memory");
  const int64_t stats = int64_t{call.rows} * call.Q * (call.prefix_runs + call.slot_runs);
  call.sums =
      static_cast<float*>(device.scratch(size_t(stats) * (kD * sizeof(float) + sizeof(float2))));
  call.stats = reinterpret_cast<float2*>(call.sums + stats * kD);
  call.tickets = device.tickets(2 * int64_t{call.rows} * call.G);
  const unsigned blocks =
      static_cast<unsigned>(call.prefix_blocks + call.G * call.slot_blocks * call.rows);
  launch_early(kernel, blocks, kBlock, kDecodeBytes<kD>, device, call);
  check_launch("attention_decode");
}

}  // namespace
}  // namespace cuda

void ops::kv_append(const KvCache& cache, const act_t* qkv, int64_t ld, const int32_t* slot_of_row,
                    const int32_t* position_in_slot, int64_t rows, int64_t Q, Device& d) {
  using namespace cuda;
  if (rows == 0) return;
  CudaDevice& device = cuda_device(d);
  const bool aligned = rows_aligned(qkv, ld) && Q * cache.D % 8 == 0 && caches_aligned(cache);
  const int64_t items = rows * ceil_div(2 * cache.G * cache.D, 8);
  const auto kernel = aligned ? append_kernel<true> : append_kernel<false>;
  kernel<<<blocks_for(items), kThreads, 0, device.stream()>>>(cache, qkv, ld, slot_of_row,
                                                              position_in_slot, rows, Q);
  check_launch("kv_append");
}

void ops::kv_load(act_t* qkv, int64_t ld, const KvCache& cache, int32_t slot, int64_t rows,
                  int64_t Q, Device& d) {
  using namespace cuda;
  if (rows == 0) return;
  CudaDevice& device = cuda_device(d);
  const bool aligned = rows_aligned(qkv, ld) && Q * cache.D % 8 == 0 && caches_aligned(cache);
  const int64_t items = rows * ceil_div(2 * cache.G * cache.D, 8);
  const auto kernel = aligned ? load_kernel<true> : load_kernel<false>;
  kernel<<<blocks_for(items), kThreads, 0, device.stream()>>>(qkv, ld, cache, slot, rows, Q);
  check_launch("kv_load");
}

void ops::attention_decode(act_t* out, int64_t ld_out, act_t* qkv, int64_t ld, const KvCache& cache,
                           const int32_t* slots, const int32_t* positions, int64_t prefix_length,
                           const float* cos, const float* sin, int64_t rows, int64_t Q, Device& d) {
  using namespace cuda;
  if (cache.D > kMostD) {
    throw Error(QLORA_ERROR_UNSUPPORTED, "head_dim must be at most " + std::to_string(kMostD) +
                                             " in the CUDA build, found " +
                                             std::to_string(cache.D) +
                                             "; take the CPU build for this model");
  }
  CudaDevice& device = cuda_device(d);
  const int64_t D = cache.D;
  const bool aligned = D % 16 == 0 && rows_aligned(qkv, ld) && caches_aligned(cache) &&
                       rows_aligned(cos, D / 2) && rows_aligned(sin, D / 2);
  DecodeCall call{};
  call.cache = cache;
  call.cos = cos;
  call.sin = sin;
  call.ld = ld;
  call.ld_out = ld_out;
  call.out_aligned = D % 8 == 0 && rows_aligned(out, ld_out);
  call.prefix_length = static_cast<int>(prefix_length);
  call.Q = static_cast<int>(Q);
  call.G = static_cast<int>(cache.G);
  call.D = static_cast<int>(D);
  call.ratio = call.Q / call.G;
  call.scale_log2 = kLog2e / std::sqrt(static_cast<float>(D));
  call.prefix_runs = runs_of(call.prefix_length);
  call.slot_runs =
      static_cast<int>(std::min<int64_t>(kMostRuns, ceil_div(cache.slot_capacity, kTileKeys)));
  const int rows_of_a_tile = std::max(1, kTileQueries / call.ratio);
  call.tile_queries = std::min(kTileQueries, rows_of_a_tile * call.ratio);
  call.rows_of_a_block = call.ratio <= kTileQueries ? rows_of_a_tile * kTilesTogether : 1;
  for (int64_t first = 0; first < rows; first += kRows) {
    call.rows = static_cast<int>(std::min(rows - first, kRows));
    call.out = out + first * ld_out;
    call.qkv = qkv + first * ld;
    call.slots = slots + first;
    call.positions = positions + first;
    call.slot_blocks = static_cast<int>(std::min<int64_t>(
        call.slot_runs, ceil_div(kBlocksOfSlots * device.sm_count(), call.G * call.rows)));
    call.prefix_blocks =
        call.G * call.prefix_runs * static_cast<int>(ceil_div(call.rows, call.rows_of_a_block));
    if (D <= 64) {
      launch<64>(call, aligned, device);
    } else if (D <= 128) {
      launch<128>(call, aligned, device);
    } else {
      launch<256>(call, aligned, device);
    }
  }
}

}  // namespace qlora
