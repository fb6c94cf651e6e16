// Products of up to kNarrowRows rows of x with NF4 weights, for a whole group in one launch:
//   x = residual · rstd · norm  (or x as it is),  U = x · Aᵀ,  y_p = x · W_pᵀ + U_p · sB_pᵀ
// for every part p, and y = silu(y_0) · y_1 where two parts are paired. Nothing but W is large, so
// the floor is its bytes over the memory bandwidth: 4.125 bit a weight when double-quantised, 3.6
// GB for the layers of the 8B, 0.85 ms at 4.26 TB/s.
//
// A block takes tiles of 16 rows of w, in segments of 4,096 columns. Eight warps multiply, each
// every eighth run of 128 columns, and wait for nobody but one more warp, which makes the blocks'
// scales of the segments ahead and adds up the tiles behind, with LoRA's part. What does not depend
// on the kernel before, the table, the first pieces of w and their scales, is there before that
// ends: half a multiprocessor's registers and shared memory are left for the next kernel to do the
// same.
//
// The products are mma.m16n8k16 with w as a and x as b. The order of k inside a product is free, so
// a lane takes neighbouring k and loads them in one access, 16 bytes a row. A run is two blocks of
// 64, one in the lanes t = 0, 1, the other in t = 2, 3: columns 0 … 3 of b hold x for the first and
// zeros for the second, columns 4 … 7 the reverse, so that each block's product comes out by
// itself, in the lanes that scale it. Of the four columns each run takes its own while x has fewer
// rows: the x of kTogether = 4 / kX runs lies in one set of registers, loaded once.
//
// A row of y has the same bits whatever m is: first the two blocks, then the four runs of a warp
// (0 + 1) + (2 + 3), then the warps.
#include <algorithm>

#include "nf4_decode.h"
#include "nf4_narrow.cuh"

namespace qlora {
namespace cuda {
namespace narrow {
namespace {

// ---- shared memory ------------------------------------------------------------------------------
// The table, scales, sums of tiles, barriers, U, x.

struct Barriers {
  uint64_t full[kSlots], empty[kSlots];  // of segments
  uint64_t sums_full[kSlots], sums_empty[kSlots];
  uint64_t share;  // this block's part of U
};
template <int kX>
constexpr int kSumsOfTile = kWarps * kX * kTile;
template <int kX>
constexpr int kSumsBytes = kSlots * kSumsOfTile<kX> * static_cast<int>(sizeof(float));
constexpr int kBarriersBytes = 128;
static_assert(sizeof(Barriers) <= kBarriersBytes, "the barriers fit");
static_assert(kSlots * sizeof(Segment) >= kStagingBytes, "the table is made there");

template <int kX>
int shared_bytes(int m, int ranks, int x_ld) {
  const int u = static_cast<int>(ceil_div(m * ranks * int64_t{sizeof(float)}, 16)) * 16;
  return kTableRoom + kSlots * static_cast<int>(sizeof(Segment)) + kSumsBytes<kX> + kBarriersBytes +
         u + m * x_ld * static_cast<int>(sizeof(act_t));
}

// The parts of shared memory.
template <int kX>
struct Parts {
  uint8_t* table;
  Segment* segments;
  float* sums;
  Barriers* barriers;
  float* u;
  act_t* x;

  __device__ Parts(uint8_t* shared, const Call& call) {
    table = table_of(shared);
    segments = reinterpret_cast<Segment*>(table + kTableBytes);
    sums = reinterpret_cast<float*>(segments + kSlots);
    barriers = reinterpret_cast<Barriers*>(sums + kSlots * kSumsOfTile<kX>);
    u = reinterpret_cast<float*>(reinterpret_cast<uint8_t*>(barriers) + kBarriersBytes);
    x = reinterpret_cast<act_t*>(u + (call.m * call.ranks + 3) / 4 * 4);
  }
};

// ---- x ------------------------------------------------------------------------------------------

// A thread's eight columns of the norm's weight, for each turn of the block over a row.
constexpr int kNormTurns = 2;
constexpr int kMostNormColumns = kNormTurns * kBlock * 8;

struct NormWeight {
  Float8 of[kNormTurns];

  __device__ void load(const float* weight, int in) {
#pragma unroll
    for (int i = 0; i < kNormTurns; ++i) {
      const int column = (i * kBlock + static_cast<int>(threadIdx.x)) * 8;
      if (column < in) of[i] = load8(weight + column);
    }
  }
};

// Warps come to this from different branches, so that each keeps only what it needs.
__device__ inline void sync_all() { sync_threads(1, kBlock); }

// Row n of x to shared memory, normalised. sums: of the warps, in shared memory. All threads call
// it.
__device__ inline void normalise(act_t* to, const act_t* from, const NormWeight& weight, int in,
                                 float eps, float* sums) {
  uint4 raw[kNormTurns];
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kNormTurns; ++i) {
    const int column = (i * kBlock + static_cast<int>(threadIdx.x)) * 8;
    raw[i] = make_uint4(0, 0, 0, 0);
    if (column < in) raw[i] = *reinterpret_cast<const uint4*>(from + column);
    const Float8 v = unpack8(raw[i]);
#pragma unroll
    for (int k = 0; k < 8; ++k) squares += v.v[k] * v.v[k];
  }
  squares = warp_sum(squares);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = squares;
  sync_all();
  float total = sums[0];
#pragma unroll
  for (int i = 1; i < kBlock / kWarp; ++i) total += sums[i];
  const float scale = rsqrtf(total / static_cast<float>(in) + eps);
#pragma unroll
  for (int i = 0; i < kNormTurns; ++i) {
    const int column = (i * kBlock + static_cast<int>(threadIdx.x)) * 8;
    if (column >= in) continue;
    Float8 v = unpack8(raw[i]);
#pragma unroll
    for (int k = 0; k < 8; ++k) v.v[k] = v.v[k] * scale * weight.of[i].v[k];
    *reinterpret_cast<uint4*>(to + column) = pack8(v);
  }
}

// 32 columns of a row of x, as b's words; zeros where `valid` is false.
__device__ inline void load_x(uint4 (&x)[4], const act_t* from, bool valid) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    x[j] = valid ? reinterpret_cast<const uint4*>(from)[j] : make_uint4(0, 0, 0, 0);
  }
}

// ---- products -----------------------------------------------------------------------------------

// Where a lane reads a segment: its 16 bytes of its warp's first run in rows g and g + 8.
struct Reader {
  const uint8_t *low, *high;

  __device__ static int offset() {
    const int t = threadIdx.x % 4, warp = threadIdx.x / kWarp;
    return (2 * warp + t / 2) * (kBlockValues / 2) + t % 2 * 16;
  }
};

// Half a block of 64 of rows g and g + 8.
struct Piece {
  uint4 low, high;

  // Of the warp's i-th run. beyond: the block lies behind the row's last: that one again.
  __device__ void load(const Reader& from, int i, bool beyond) {
    const int at = i * kWarps * (kRun / 2) - (beyond ? kBlockValues / 2 : 0);
    low = stream16(from.low + at);
    high = stream16(from.high + at);
  }
};
constexpr int kDepth = 2;  // pieces loaded ahead; what lies behind them is near already
static_assert(kRuns % kDepth == 0, "a run has the same place in every segment");
struct Pieces {
  Piece of[kDepth];
};

// sums += the piece's products, times kCodeScale. mine: x is this run's.
__device__ inline void multiply(float (&sums)[4], const Piece& piece, const uint4 (&x)[4],
                                bool mine, float2 scale, uint32_t lane_at) {
  const uint32_t low[4] = {piece.low.x, piece.low.y, piece.low.z, piece.low.w};
  const uint32_t high[4] = {piece.high.x, piece.high.y, piece.high.z, piece.high.w};
  // Codes are looked up a step before their products.
  uint32_t first[2][4], second[2][4];
  const auto look_up_words = [&](int i) {
    uint32_t (&to)[4] = first[i % 2], (&to_second)[4] = second[i % 2];
    to[0] = look_up<0>(low[i], lane_at), to[1] = look_up<0>(high[i], lane_at);
    to[2] = look_up<1>(low[i], lane_at), to[3] = look_up<1>(high[i], lane_at);
    to_second[0] = look_up<2>(low[i], lane_at), to_second[1] = look_up<2>(high[i], lane_at);
    to_second[2] = look_up<3>(low[i], lane_at), to_second[3] = look_up<3>(high[i], lane_at);
  };
  float even[4] = {}, odd[4] = {};
  look_up_words(0);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < 3) look_up_words(i + 1);
    mma(even, first[i % 2], mine ? x[i].x : 0, mine ? x[i].y : 0);
    mma(odd, second[i % 2], mine ? x[i].z : 0, mine ? x[i].w : 0);
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    sums[j] = fmaf(even[j] + odd[j], j < 2 ? scale.x : scale.y, sums[j]);
  }
}

// A warp's sums of a tile, [kX, kTile]. sums[q]: of the q-th kTogether runs of each segment.
template <int kX>
__device__ inline void store_sums(float* to, float (&sums)[kX][4]) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  float total[4];
#pragma unroll
  for (int q = 0; q < kX; ++q) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      sums[q][j] += __shfl_xor_sync(kAllLanes, sums[q][j], 2);
      if (kX == 2) sums[q][j] += __shfl_xor_sync(kAllLanes, sums[q][j], 1);
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if constexpr (kX == 4) {
      total[j] = (sums[0][j] + sums[1][j]) + (sums[2][j] + sums[3][j]);
    } else if constexpr (kX == 2) {
      total[j] = sums[0][j] + sums[1][j];
    } else {
      total[j] = sums[0][j / 2 * 2] + sums[0][j / 2 * 2 + 1];
      total[j] += __shfl_xor_sync(kAllLanes, total[j], 1);
    }
  }
  if (t >= (kX == 4 ? 2 : 1)) return;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int n = kX == 1 ? 0 : 2 * t + j % 2;
    if (kX > 1 || j % 2 == 0) to[n * kTile + g + j / 2 * 8] = total[j];
  }
}

// How many runs are left when a lane has the second block of a run that has one only: 1, of such
// rows, or never.
__device__ inline int odd_left_of(const PackedGroup& w) {
  return w.blocks % 2 != 0 && threadIdx.x % 4 >= 2 ? 1 : -1;
}

// What a multiplying warp does once x is there. pieces: the first kDepth of the reader's, the first
// segment.
template <int kX>
__device__ inline void multiply_tiles(const PackedGroup& w, const Call& call, const act_t* x,
                                      int64_t x_ld, Pieces& pieces, Reader& reader,
                                      const Parts<kX>& parts) {
  constexpr int kTogether = 4 / kX;
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarp;
  const int runs = (w.blocks + 1) / 2, segments = (runs + kSegmentRuns - 1) / kSegmentRuns;
  const int odd_left = odd_left_of(w);
  const uint32_t lane_at = lane_address(parts.table);
  const int n = g % 4 % kX, sub = g % 4 / kX;  // row of x, run of a set
  const bool holds_x = (g < 4) == (t < 2) && n < call.m;
  const int first_block = 2 * (sub * kWarps + warp) + g / 4;
  const act_t* const x_first = x + n * x_ld + t % 2 * 32 + first_block * kBlockValues;
  const int first_scale = scale_word(2 * warp + t / 2, g);
  int step = 0, turn = 0;
  for (int tile = blockIdx.x; tile < w.units; tile += gridDim.x, ++turn) {
    float sums[kX][4] = {};
#pragma unroll 1
    for (int segment = 0; segment < segments; ++segment, ++step) {
      const int slot = step % kSlots;
      const Segment& here = parts.segments[slot];
      const int left = runs - warp - segment * kSegmentRuns;  // runs from the warp's first on
      int left_ahead = left;
      uint4 of_x[4];
      barrier_wait(&parts.barriers->full[slot], step / kSlots % 2);
#pragma unroll
      for (int i = 0; i < kRuns; ++i) {
        if (i % kTogether == 0) {
          const int block = segment * kSegmentBlocks + 2 * kWarps * i;
          load_x(of_x, x_first + block * kBlockValues, holds_x && first_block + block < w.blocks);
        }
        if (i * kWarps < left) {
          const float2 scale = *reinterpret_cast<const float2*>(here.scales + first_scale +
                                                                i * scale_word(2 * kWarps, 0));
          multiply(sums[i / kTogether], pieces.of[i % kDepth], of_x,
                   kX == 4 || sub == i % kTogether, scale, lane_at);
        }
        if (i == kRuns - kDepth) {  // from here on of the next segment
          reader.low = here.next[g];
          reader.high = here.next[g + 8] + Reader::offset();
          const int next = segment + 1 < segments ? segment + 1 : 0;
          left_ahead = reader.low != nullptr ? runs - warp - next * kSegmentRuns : 0;
          reader.low += Reader::offset();
        }
        const int ahead = (i + kDepth) % kRuns;
        if (ahead * kWarps < left_ahead) {
          pieces.of[i % kDepth].load(reader, ahead, left_ahead - ahead * kWarps == odd_left);
        }
      }
      __syncwarp();
      if (lane == 0) barrier_arrive(&parts.barriers->empty[slot]);
    }
    const int slot = turn % kSlots;
    if (turn >= kSlots) barrier_wait(&parts.barriers->sums_empty[slot], (turn / kSlots - 1) % 2);
    store_sums<kX>(parts.sums + slot * kSumsOfTile<kX> + warp * (kX * kTile), sums);
    __syncwarp();
    if (lane == 0) barrier_arrive(&parts.barriers->sums_full[slot]);
  }
}

// ---- the helping warp ---------------------------------------------------------------------------

// σ(v) · v
__device__ inline float silu(float v) { return v / (1.0f + __expf(-v)); }

// Ranks [first, first + 8) of a row of s·B.
__device__ inline Float8 load_b(const PackedPart& part, int row, int first) {
  if (first >= part.rank) return Float8{};
  const act_t* const b = part.b + int64_t{row} * part.rank + first;
  const bool whole = first + 8 <= part.rank && reinterpret_cast<uintptr_t>(b) % 16 == 0;
  return whole ? load8(b) : load_first8(b, part.rank - first);
}

// Ends tiles. A lane has row lane % 16 of a tile; both lanes of a row take half of each 16 ranks,
// and then the even and the odd rows of x. The first ranks of the next tile are on their way
// before.
template <int kX>
struct Finisher {
  Place place;
  Float8 b;

  __device__ void load(const PackedGroup& w, const Call& call, int tile) {
    if (tile >= w.units) return;
    const int lane = threadIdx.x % kWarp;
    place = place_of(w, call.paired, tile, lane % kTile);
    b = load_b(w.part[place.part], place.row, lane / kTile * 8);
  }

  __device__ void end(const PackedGroup& w, const Call& call, int tile, int turn,
                      const Parts<kX>& parts) {
    const int lane = threadIdx.x % kWarp, i = lane % kTile, half = lane / kTile;
    const Place here = place;
    const PackedPart& part = w.part[here.part];
    float lora[kX] = {};
    for (int first = half * 8; first < part.rank; first += 16) {
      if (first >= 16) b = load_b(part, here.row, first);
      const int count = min(8, part.rank - first);
#pragma unroll
      for (int n = 0; n < kX; ++n) {
        const float* const u = parts.u + n * call.ranks + part.rank_offset + first;
#pragma unroll
        for (int r = 0; r < 8; ++r) {
          if (n < call.m && r < count) lora[n] = fmaf(b.v[r], u[r], lora[n]);
        }
      }
    }
    load(w, call, tile + static_cast<int>(gridDim.x));
#pragma unroll
    for (int n = 0; n < kX; ++n) lora[n] += __shfl_xor_sync(kAllLanes, lora[n], kTile);

    const int slot = turn % kSlots;
    barrier_wait(&parts.barriers->sums_full[slot], turn / kSlots % 2);
    const float* const sums = parts.sums + slot * kSumsOfTile<kX>;
#pragma unroll
    for (int n = 0; n < kX; ++n) {
      float sum = sums[n * kTile + i];
#pragma unroll
      for (int j = 1; j < kWarps; ++j) sum += sums[(j * kX + n) * kTile + i];
      float value = fmaf(sum, 1.0f / kCodeScale, lora[n]);
      const float up = __shfl_down_sync(kAllLanes, value, kTile / 2);
      if (call.paired) value = silu(value) * up;
      if (n >= call.m || half != n % 2 || !here.inside) continue;
      if (call.paired && here.part > 0) continue;
      const int64_t at = n * call.ldy + part.first + here.row;
      if (call.y_is_float) {
        float* const y = static_cast<float*>(call.y) + at;
        *y = call.beta == 0.0f ? value : value + call.beta * *y;
      } else {
        act_t* const y = static_cast<act_t*>(call.y) + at;
        *y = from_float<act_t>(call.beta == 0.0f ? value : value + call.beta * to_float(*y));
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(&parts.barriers->sums_empty[slot]);
  }
};

// The scales of a segment, as soon as a slot is free, and the ends of the tiles. loader: behind the
// first kSlots segments.
template <int kX>
__device__ inline void help(const PackedGroup& w, const Call& call, ScaleLoader& loader,
                            NearBringer& bringer, const Parts<kX>& parts) {
  const int segments = (w.blocks + kSegmentBlocks - 1) / kSegmentBlocks;
  const uint32_t lane_at = lane_address(parts.table);
  Finisher<kX> finisher = {};
  finisher.load(w, call, blockIdx.x);
  if (call.ranks > 0) gather_u(parts.u, call, &parts.barriers->share);
  int step = 0, turn = 0;
  for (int tile = blockIdx.x; tile < w.units; tile += gridDim.x, ++turn) {
    for (int segment = 0; segment < segments; ++segment, ++step) {
      bringer.bring();
      if (loader.tile >= w.units) continue;
      const int slot = step % kSlots;
      barrier_wait(&parts.barriers->empty[slot], step / kSlots % 2);
      loader.store(parts.segments[slot], lane_at);
      __syncwarp();
      if (threadIdx.x % kWarp == 0) barrier_arrive(&parts.barriers->full[slot]);
    }
    finisher.end(w, call, tile, turn, parts);
  }
}

// ---- the kernel ---------------------------------------------------------------------------------

template <int kX>
__device__ inline void set_up(const Parts<kX>& parts, const DynamicMap& dynamic) {
  fill_table(parts.table, reinterpret_cast<uint2*>(parts.segments), dynamic, sync_all);
  Barriers* const barriers = parts.barriers;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kSlots; ++i) {
      barrier_init(&barriers->full[i], 1);
      barrier_init(&barriers->empty[i], kWarps);
      barrier_init(&barriers->sums_full[i], kWarps);
      barrier_init(&barriers->sums_empty[i], 1);
    }
    barrier_init(&barriers->share, kWarps);
  }
  sync_all();
}

// Behind it earlier kernels have ended, and x is in shared memory where it has room there.
template <int kX>
__device__ inline void take_x(const Parts<kX>& parts, const Call& call, int in) {
  if (call.norm != nullptr) {
    NormWeight weight;
    weight.load(call.norm, in);
    await_previous();
    for (int n = 0; n < call.m; ++n) {
      float* const sums = parts.sums + n * (kBlock / kWarp);
      normalise(parts.x + n * call.x_ld, call.x + n * call.ldx, weight, in, call.eps, sums);
    }
  } else {
    await_previous();
    for (int n = 0; call.x_ld > 0 && n < call.m; ++n) {
      for (int i = threadIdx.x; i < in / 8; i += kBlock) {
        copy16_async(parts.x + n * call.x_ld + i * 8, call.x + n * call.ldx + i * 8, true);
      }
    }
    copies_commit();
    copies_wait<0>();
  }
  sync_all();
}

// kX: rows of x the registers are for, 1, 2 or 4. At one row two blocks, of this kernel and the
// next, fit a multiprocessor.
template <int kX>
__global__ void __launch_bounds__(kBlock, kX == 1 ? 2 : 1)
    decode_kernel(Call call, PackedGroup w, DynamicMap dynamic) {
  extern __shared__ __align__(256) uint8_t shared[];
  let_next_begin();
  const Parts<kX> parts(shared, call);
  if (threadIdx.x / kWarp < kWarps) {
    const int left = (w.blocks + 1) / 2 - static_cast<int>(threadIdx.x) / kWarp;
    Pieces pieces = {};
    const int g = threadIdx.x % kWarp / 4;
    Reader reader;
    reader.low = row_of(w, place_of(w, call.paired, blockIdx.x, g)) + Reader::offset();
    reader.high = row_of(w, place_of(w, call.paired, blockIdx.x, g + 8)) + Reader::offset();
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      if (i * kWarps < left) pieces.of[i].load(reader, i, left - i * kWarps == odd_left_of(w));
    }
    Share share = {};
    share.load(call, w.in);
    set_up(parts, dynamic);
    take_x(parts, call, w.in);
    const act_t* const x = call.x_ld > 0 ? parts.x : call.x;
    const int64_t x_ld = call.x_ld > 0 ? call.x_ld : call.ldx;
    if (call.ranks > 0) {
      share.project(call, w.in, x, x_ld);
      __syncwarp();
      if (threadIdx.x % kWarp == 0) {
        __threadfence();
        barrier_arrive(&parts.barriers->share);
      }
    }
    multiply_tiles<kX>(w, call, x, x_ld, pieces, reader, parts);
  } else {
    ScaleLoader loader{w, call};
    NearBringer bringer{w, call, static_cast<int>(blockIdx.x), 0};
    loader.begin(blockIdx.x);
    for (int i = 0; i < NearBringer::kAhead; ++i) bringer.bring();
    set_up(parts, dynamic);
    for (int slot = 0; slot < kSlots && loader.tile < w.units; ++slot) {
      loader.store(parts.segments[slot], lane_address(parts.table));
      __syncwarp();
      if (threadIdx.x % kWarp == 0) barrier_arrive(&parts.barriers->full[slot]);
    }
    take_x(parts, call, w.in);
    help(w, call, loader, bringer, parts);
  }
}

// ---- launch -------------------------------------------------------------------------------------

// Of x in shared memory: rows in different banks.
int x_ld_of(int64_t in) { return static_cast<int>(in) + 8; }

int bytes_for(int64_t m, int64_t ranks, int x_ld) {
  const int rows = static_cast<int>(m), of_u = static_cast<int>(ranks);
  return m == 1   ? shared_bytes<1>(rows, of_u, x_ld)
         : m == 2 ? shared_bytes<2>(rows, of_u, x_ld)
                  : shared_bytes<4>(rows, of_u, x_ld);
}

bool in_quads(const PackedGroup& w) {
  bool quads = w.blocks % 4 == 0;
  for (int p = 0; p < w.parts; ++p) {
    quads = quads && reinterpret_cast<uintptr_t>(w.part[p].codes) % 4 == 0 &&
            reinterpret_cast<uintptr_t>(w.part[p].absmax) % 16 == 0;
  }
  return quads;
}

template <int kX>
void launch(Call call, const PackedGroup& w, CudaDevice& device) {
  call.x_ld = x_ld_of(w.in);
  if (shared_bytes<kX>(call.m, call.ranks, call.x_ld) > device.max_shared_bytes()) call.x_ld = 0;
  const int bytes = shared_bytes<kX>(call.m, call.ranks, call.x_ld);
  check(cudaFuncSetAttribute(decode_kernel<kX>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "linear_group_decode: shared memory");
  // A multiprocessor shared out otherwise would take the next kernel's blocks only when it is idle.
  check(cudaFuncSetAttribute(decode_kernel<kX>, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "linear_group_decode: shared memory");
  const int blocks = std::min(w.units, device.sm_count());
  if (call.ranks > 0) {  // slices of whole warps' accesses, few enough to add up quickly
    constexpr int kMostSplits = 32, kColumns = kWarp * 8;
    const int groups = static_cast<int>(ceil_div(call.ranks, kWarps));
    const int most = std::max(1, std::min(kMostSplits, blocks / groups));
    call.slice = static_cast<int>(ceil_div(ceil_div(w.in, kColumns), most)) * kColumns;
    call.splits = static_cast<int>(ceil_div(w.in, call.slice));
    call.partial = static_cast<float*>(
        device.scratch(size_t(call.splits) * call.m * call.ranks * sizeof(float)));
    call.tickets = device.tickets(2);
  }
  launch_early(decode_kernel<kX>, static_cast<unsigned>(blocks), kBlock, bytes, device, call, w,
               dynamic_map());
  check_launch("linear_group_decode, few rows");
}

int64_t units_of(const ops::DecodeGroup& group) {
  if (group.pair != nullptr) return ceil_div(group.parts[0].w.out, kTile / 2);
  int64_t units = 0;
  for (int p = 0; p < group.num_parts; ++p) units += ceil_div(group.parts[p].w.out, kTile);
  return units;
}

void launch_for(Call call, const ops::DecodeGroup& group, CudaDevice& device) {
  call.paired = group.pair != nullptr;
  call.a = group.a;
  call.ranks = static_cast<int>(group.rank);
  PackedGroup w = packed_group(group, kTile);
  w.units = static_cast<int>(units_of(group));
  call.quads = in_quads(w);
  if (call.m == 1) {
    launch<1>(call, w, device);
  } else if (call.m == 2) {
    launch<2>(call, w, device);
  } else {
    launch<4>(call, w, device);
  }
}

}  // namespace
}  // namespace narrow

bool nf4_narrow_takes(int64_t m, const ops::DecodeGroup& group, CudaDevice& device) {
  using namespace narrow;
  if (m > kNarrowRows) return false;
  const int64_t blocks = std::min<int64_t>(units_of(group), device.sm_count());
  return ceil_div(group.rank, kWarps) <= blocks &&  // every row of A has a block
         bytes_for(m, group.rank, 0) <= device.max_shared_bytes();
}

bool nf4_narrow_normalises(int64_t m, const ops::DecodeGroup& group, CudaDevice& device) {
  using namespace narrow;
  const int64_t in = group.parts[0].w.in;
  return in <= kMostNormColumns && rows_aligned(group.residual, in) &&
         rows_aligned(group.norm, in) &&
         bytes_for(m, group.rank, x_ld_of(in)) <= device.max_shared_bytes();
}

void nf4_narrow_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, CudaDevice& device) {
  narrow::Call call{};
  call.y = y;
  call.ldy = ldy;
  call.beta = group.beta;
  call.x = group.norm != nullptr ? group.residual : x;
  call.ldx = group.norm != nullptr ? group.parts[0].w.in : ldx;
  call.m = static_cast<int>(m);
  call.norm = group.norm;
  call.eps = group.eps;
  narrow::launch_for(call, group, device);
}

void nf4_narrow_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, CudaDevice& device) {
  narrow::Call call{};
  call.y = y;
  call.ldy = ldy;
  call.y_is_float = true;
  call.beta = group.beta;
  call.x = x;
  call.ldx = ldx;
  call.m = static_cast<int>(m);
  narrow::launch_for(call, group, device);
}

}  // namespace cuda
}  // namespace qlora
