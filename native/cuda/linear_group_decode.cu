// linear_group_decode: the linears of a group for few rows of x, straight from NF4, in one launch:
//   U = x · Aᵀ,  y_p = x · W_pᵀ + U_p · sB_pᵀ for every part p
// Nothing but W is large, so the floor is its bytes over the memory bandwidth: 4.125 bit a weight
// when double-quantised, 3.6 GB for the layers of the 8B, 0.85 ms at 4.26 TB/s.
//
// The products are mma.m16n8k16 with w as a and x as b. A byte is looked up as a pair of bf16 codes
// in a table each lane has its own column of (no bank conflicts): one byte permutation makes the
// address. The product of a block of 64 is scaled by its absmax in fp32: only the sixteen codes are
// rounded, after a scaling at which they lose least. The order of k inside a product is free, so a
// lane takes neighbouring k and loads them in one access.
//
// Up to kNarrowRows rows of x (narrow_kernel): eight warps share 16 rows of w, each takes every
// eighth run of 128 columns, 16 bytes a lane and row. Such a run is two blocks of 64, one in the
// lanes t = 0, 1, the other in t = 2, 3; columns 0 … 3 of b hold x for the first and zeros for the
// second, columns 4 … 7 the reverse, so that each block's product comes out by itself, in the lanes
// that know its absmax.
// More rows (wide_kernel): a block takes 128 rows of w and up to 64 of x, which its warps share
// through shared memory; `in` is split over blocks where the rows alone would not fill the GPU. The
// last block to finish adds the parts in their order.
//
// A row of y has the same bits in any company inside each of the two kernels; between them the
// order of the sums differs.
#include <algorithm>

#include "common.cuh"
#include "last_block.cuh"
#include "mma.cuh"
#include "nf4.cuh"
#include "nf4_decode.h"

namespace qlora {
namespace cuda {
namespace {

constexpr int kBlockValues = static_cast<int>(kNf4Block);
constexpr int kRun = 2 * kBlockValues;  // columns of w a step takes
constexpr int kNarrowRows = 4;          // of x
constexpr int kMostRows = 64;           // of x, a launch

// The codes times this lie closest to bf16 numbers: rms error 3.2e-4 of the largest, else 5.5e-4.
constexpr float kCodeScale = 1.43701171875f;

// One linear: a unit is a tile of rows of w.
struct PackedPart {
  const uint8_t* packed;
  const float* absmax;  // null when double-quantised
  const uint8_t* codes;
  const float* absmax2;
  float offset;
  int out;
  int first_unit;
  int64_t first;   // column of y
  const act_t* b;  // s·B [out, rank]
  int rank, rank_offset;
};
struct PackedGroup {
  PackedPart part[ops::kMostParts];
  int parts;
  int units;
  int in;
  int blocks;  // of 64, a row
};

// The part a unit belongs to.
__device__ inline int part_of(const PackedGroup& w, int unit) {
  int p = 0;
#pragma unroll
  for (int i = 1; i < ops::kMostParts; ++i) {
    if (i < w.parts && unit >= w.part[i].first_unit) p = i;
  }
  return p;
}

// 16 or 8 bytes of w: read once, so kept out of the first cache.
__device__ inline uint4 stream16(const uint8_t* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ inline uint2 stream8(const uint8_t* p) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];"
               : "=r"(v.x), "=r"(v.y)
               : "l"(p));
  return v;
}

// ---- the table ----------------------------------------------------------------------------------
// Row `byte`: 32 lanes' pairs of codes, then 32 lanes' values of the dynamic map: 256 bytes a row.
// The table lies at shared address kTableAt in every kernel, so that an address is a byte of w
// above the lane's offset: one byte permutation, and a constant in the load.

constexpr int kTableAt = 1024;  // at or behind what the driver reserves at the front
constexpr int kTableBytes = 256 * 256;
constexpr int kTableRoom = kTableAt + kTableBytes;  // of dynamic shared memory

// The table's place; kernels that call it have no static shared memory.
__device__ inline uint8_t* table_of(uint8_t* shared) {
  const uint32_t begin = shared_address(shared) & 0xffffffu;
  if (begin > kTableAt) __trap();
  return shared + (kTableAt - begin);
}
// The lane's part of an address: bits 0 … 7, and what stands above the block's own window.
__device__ inline uint32_t lane_address(const uint8_t* table) {
  return (shared_address(table) & 0xff000000u) | (threadIdx.x % kWarp * 4);
}

// The codes in memory: of a parameter, indexed at run time, each thread would make itself a copy.
__device__ const float kCodes[16] = {
    kNf4[0], kNf4[1], kNf4[2],  kNf4[3],  kNf4[4],  kNf4[5],  kNf4[6],  kNf4[7],
    kNf4[8], kNf4[9], kNf4[10], kNf4[11], kNf4[12], kNf4[13], kNf4[14], kNf4[15],
};

// staging: 2 KB of shared memory for the while. Parameters are read once, all lines of them at the
// same time: one after another each would be a miss of the constant cache.
__device__ inline void fill_table(uint8_t* table, uint2* staging, const DynamicMap& dynamic) {
  for (int byte = threadIdx.x; byte < 256; byte += blockDim.x) {
    // The high nibble comes first: the low half of the pair.
    staging[byte] =
        make_uint2(pack_bf16(kCodes[byte >> 4] * kCodeScale, kCodes[byte & 15] * kCodeScale),
                   __float_as_uint(dynamic.value[byte]));
  }
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
#pragma unroll 4
  for (int byte = threadIdx.x / kWarp; byte < 256; byte += blockDim.x / kWarp) {
    uint32_t* const row = reinterpret_cast<uint32_t*>(table + byte * 256) + lane;
    const uint2 values = staging[byte];
    row[0] = values.x;
    row[kWarp] = values.y;
  }
}
constexpr int kStagingBytes = 256 * sizeof(uint2);

// The pair of codes of byte kByte of a word; lane: lane_address.
template <int kByte>
__device__ inline uint32_t look_up(uint32_t word, uint32_t lane) {
  uint32_t pair;
  asm volatile("ld.shared.u32 %0, [%1 + %2];"
               : "=r"(pair)
               : "r"(__byte_perm(word, lane, 0x7604 | kByte << 4)), "n"(kTableAt));
  return pair;
}
__device__ inline float look_up_map(uint32_t code, uint32_t lane) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1 + %2];"
               : "=f"(value)
               : "r"(__byte_perm(code, lane, 0x7604)), "n"(kTableAt + 4 * kWarp));
  return value;
}

// An absmax over kCodeScale: of its code and its block's scale, or the value itself.
template <bool kNested>
__device__ inline float absmax_of(uint32_t code, float value, float offset, uint32_t lane) {
  if constexpr (!kNested) return value * (1.0f / kCodeScale);
  return __fadd_rn(__fmul_rn(look_up_map(code, lane), value), offset) * (1.0f / kCodeScale);
}

template <bool kNested>
__device__ inline void load_absmax(uint32_t& code, float& value, const PackedPart& w, int block) {
  if constexpr (kNested) {
    code = __ldg(w.codes + block);
    value = __ldg(w.absmax2 + block / static_cast<int>(kAbsmaxBlock));
  } else {
    value = __ldg(w.absmax + block);
  }
}

// Σ b[r] · u[r], r < rank.
__device__ inline float lora_dot(const act_t* b, const act_t* u, int rank) {
  float sum = 0.0f;
  const bool aligned = (reinterpret_cast<uintptr_t>(b) | reinterpret_cast<uintptr_t>(u)) % 16 == 0;
  for (int r = 0; r < rank; r += 8) {
    const Float8 left = aligned ? load_row8<true>(b, r, rank) : load_first8(b + r, rank - r);
    const Float8 right = aligned ? load_row8<true>(u, r, rank) : load_first8(u + r, rank - r);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(left.v[i], right.v[i], sum);
  }
  return sum;
}

// ---- narrow -------------------------------------------------------------------------------------

constexpr int kTeamWarps = 8;  // share a tile of w
constexpr int kTeams = 2;      // a block
constexpr int kNarrowBlock = kTeams * kTeamWarps * kWarp;
constexpr int kTile = 16;  // rows of w
constexpr int kAhead = 4;  // runs loaded before they are used
constexpr int kTeamSums = kTeamWarps * kNarrowRows * kTile;
constexpr int kTeamsBytes = kTeams * 2 * kTeamSums * static_cast<int>(sizeof(float));
constexpr int kZerosBytes = 64;                                       // 32 columns of no row of x
constexpr int kNarrowBytes = kTableRoom + kTeamsBytes + kZerosBytes;  // and x, where it fits
static_assert(kTeamsBytes >= kStagingBytes, "the table is made there");

// What a lane holds of a run: 16 bytes (half a block of 64) of rows g and g + 8 of the tile, and
// the absmax of that block in row g (t even) or g + 8 (t odd).
struct NarrowPiece {
  uint4 low, high;
  uint32_t code;
  float value;
};

// Where a lane reads a tile. Rows behind the part's last are that one again.
template <bool kNested>
struct NarrowTile {
  const uint8_t* packed;  // row g
  const uint8_t* codes;   // of the row whose absmax it takes
  const float* values;    // absmax, of that row, or absmax2, of the part
  int high;               // bytes from row g to row g + 8
  int block;              // the first of that row
  float offset;

  __device__ void enter(const PackedGroup& w, int tile, int g, int t) {
    const PackedPart& part = w.part[part_of(w, tile)];
    const int row = (tile - part.first_unit) * kTile + g;
    const int low_row = min(row, part.out - 1), high_row = min(row + 8, part.out - 1);
    packed = part.packed + int64_t{low_row} * (w.in / 2) + t % 2 * 16;
    high = (high_row - low_row) * (w.in / 2);
    block = (t % 2 == 0 ? low_row : high_row) * w.blocks;
    if constexpr (kNested) {
      codes = part.codes + block;
      values = part.absmax2;
      offset = part.offset;
    } else {
      values = part.absmax + block;
    }
  }
  // of_row: the block's number in its row.
  __device__ void load(NarrowPiece& piece, int of_row) const {
    const uint8_t* const from = packed + of_row * (kBlockValues / 2);
    piece.low = stream16(from);
    piece.high = stream16(from + high);
    if constexpr (kNested) {
      piece.code = __ldg(codes + of_row);
      piece.value = __ldg(values + static_cast<unsigned>(block + of_row) / unsigned{kAbsmaxBlock});
    } else {
      piece.value = __ldg(values + of_row);
    }
  }
};

// Rows of x in shared memory lie this far apart beyond their columns, in different banks.
constexpr int kXGap = 8;

// 32 columns of a row of x.
struct XColumns {
  uint4 v[4];
};
__device__ inline void load_shared(XColumns& x, uint32_t address) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.v[i].x), "=r"(x.v[i].y), "=r"(x.v[i].z), "=r"(x.v[i].w)
                 : "r"(address + 16 * i));
  }
}

// sums += the piece's products, times kCodeScale.
template <bool kNested>
__device__ inline void multiply_piece(float sums[4], const NarrowPiece& piece, const XColumns& x,
                                      float offset, uint32_t lane) {
  const uint32_t low[4] = {piece.low.x, piece.low.y, piece.low.z, piece.low.w};
  const uint32_t high[4] = {piece.high.x, piece.high.y, piece.high.z, piece.high.w};
  float own = piece.value;
  if constexpr (kNested) own = __fadd_rn(__fmul_rn(look_up_map(piece.code, lane), own), offset);
  float even[4] = {}, odd[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t first[4] = {look_up<0>(low[i], lane), look_up<0>(high[i], lane),
                               look_up<1>(low[i], lane), look_up<1>(high[i], lane)};
    const uint32_t second[4] = {look_up<2>(low[i], lane), look_up<2>(high[i], lane),
                                look_up<3>(low[i], lane), look_up<3>(high[i], lane)};
    mma(even, first, x.v[i].x, x.v[i].y);
    mma(odd, second, x.v[i].z, x.v[i].w);
  }
  const float other = __shfl_xor_sync(kAllLanes, own, 1);
  const bool is_odd = threadIdx.x % 2 != 0;
  const float row_g = is_odd ? other : own, row_g8 = is_odd ? own : other;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums[i] = fmaf(even[i] + odd[i], i < 2 ? row_g : row_g8, sums[i]);
  }
}

__device__ inline void team_barrier(int team) {
  asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(kTeamWarps * kWarp) : "memory");
}

// Brings s·B of a tile near: it is read when the sums are done. One lane a row.
__device__ inline void prefetch_b(const PackedGroup& w, int tile, int lane) {
  const PackedPart& part = w.part[part_of(w, tile)];
  const int row = (tile - part.first_unit) * kTile + lane;
  if (part.rank == 0 || lane >= kTile || row >= part.out) return;
  asm volatile("prefetch.global.L2 [%0];" ::"l"(part.b + int64_t{row} * part.rank));
}

// columns: of x, with U. kFits: x lies in shared memory.
template <bool kNested, bool kFits, class Y>
__global__ void __launch_bounds__(kNarrowBlock, 1)
    narrow_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, PackedGroup w, int columns,
                  float beta, DynamicMap dynamic) {
  extern __shared__ __align__(256) uint8_t shared[];
  let_next_begin();
  uint8_t* const table = table_of(shared);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp = threadIdx.x / kWarp % kTeamWarps, team = threadIdx.x / kWarp / kTeamWarps;
  float* const team_sums = reinterpret_cast<float*>(table + kTableBytes) + team * 2 * kTeamSums;
  uint8_t* const zeros = table + kTableBytes + kTeamsBytes;
  act_t* const x_shared = reinterpret_cast<act_t*>(zeros + kZerosBytes);
  const int step = kTeams * static_cast<int>(gridDim.x);
  int tile = team * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  // Of a warp and tile. Blocks behind a row's last are that one again, with zeros for x.
  const int runs = ((w.blocks + 1) / 2 + kTeamWarps - 1) / kTeamWarps;
  const int first_block = 2 * warp + t / 2, last_block = w.blocks - 1;
  const auto block_of = [&](int run) { return first_block + run * (2 * kTeamWarps); };

  NarrowPiece pieces[kAhead] = {};
  NarrowTile<kNested> now = {}, next = {};
  if (tile < w.units) {
    now.enter(w, tile, g, t);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (i < runs) now.load(pieces[i], min(block_of(i), last_block));
    }
    if (warp == 0) prefetch_b(w, tile, lane);
  }
  fill_table(table, reinterpret_cast<uint2*>(table + kTableBytes), dynamic);
  if (threadIdx.x < kZerosBytes / 4) reinterpret_cast<uint32_t*>(zeros)[threadIdx.x] = 0;
  await_previous();
  const int x_ld = columns + kXGap;
  if constexpr (kFits) {
    for (int n = 0; n < m; ++n) {
      for (int i = threadIdx.x; i < columns / 8; i += kNarrowBlock) {
        copy16_async(x_shared + n * x_ld + i * 8, x + n * ldx + i * 8, true);
      }
    }
    copies_commit();
    copies_wait<0>();
  }
  __syncthreads();

  const uint32_t lane_at = lane_address(table);
  const int n = g % 4;  // row of x
  const bool holds_x = (g < 4) == (t < 2) && n < m;
  const int x_column = t % 2 * 32;  // in the block
  const uint32_t zeros_at = shared_address(zeros);
  const uint32_t x_at = shared_address(x_shared + n * x_ld + x_column);
  const act_t* const x_row = x + n * ldx + x_column;
  for (int turn = 0; tile < w.units; ++turn) {
    const bool more = tile + step < w.units;
    if (more) {
      next.enter(w, tile + step, g, t);
      if (warp == 0) prefetch_b(w, tile + step, lane);
    }
    float sums[4] = {};
#pragma unroll 1
    for (int first = 0; first < runs; first += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i >= runs) break;
        const int block = block_of(first + i);
        const bool takes_x = holds_x && block <= last_block;
        XColumns of_x;
        if constexpr (kFits) {
          constexpr int kBytes = kBlockValues * int{sizeof(act_t)};
          load_shared(of_x, takes_x ? x_at + block * kBytes : zeros_at);
        } else {
          of_x = {};
#pragma unroll
          for (int j = 0; takes_x && j < 4; ++j) {
            of_x.v[j] = reinterpret_cast<const uint4*>(x_row + block * kBlockValues)[j];
          }
        }
        multiply_piece<kNested>(sums, pieces[i], of_x, now.offset, lane_at);
        if (first + i + kAhead < runs) {
          now.load(pieces[i], min(block_of(first + i + kAhead), last_block));
        } else if (more) {
          next.load(pieces[i], min(block_of(i), last_block));
        }
      }
    }

    // The tile is done: both blocks of each run, then the warps, in their order.
    float* const scratch = team_sums + turn % 2 * kTeamSums;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float sum = sums[j] + __shfl_xor_sync(kAllLanes, sums[j], 2);
      if (t < 2) scratch[(warp * kNarrowRows + 2 * t + j % 2) * kTile + g + j / 2 * 8] = sum;
    }
    team_barrier(team);
    // Other warps finish every turn.
    const int item = (static_cast<int>(threadIdx.x) + turn * 2 * kWarp) % (kTeamWarps * kWarp);
    const PackedPart& part = w.part[part_of(w, tile)];
    const int row = (tile - part.first_unit) * kTile + item % kTile, of = item / kTile;
    if (of < m && row < part.out) {
      float sum = scratch[item];
#pragma unroll
      for (int j = 1; j < kTeamWarps; ++j) sum += scratch[j * kNarrowRows * kTile + item];
      sum *= 1.0f / kCodeScale;
      if (part.rank > 0) {
        const act_t* const u = kFits ? x_shared + of * x_ld : x + of * ldx;
        sum += lora_dot(part.b + int64_t{row} * part.rank, u + w.in + part.rank_offset, part.rank);
      }
      Y* const to = y + of * ldy + part.first + row;
      *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
    }
    tile += step;
    now = next;
  }
}

// ---- wide ---------------------------------------------------------------------------------------

constexpr int kWideWarps = 8, kWideBlock = kWideWarps * kWarp;
constexpr int kRowWarps = 4;   // side by side over the rows of w, two deep over a run's blocks
constexpr int kWarpRows = 32;  // of w
constexpr int kWideRows = kRowWarps * kWarpRows;
constexpr int kMostSplits = 8;  // of `in`

template <int kColumnTiles>
constexpr int kStages = kColumnTiles >= 8   ? 2
                        : kColumnTiles >= 4 ? 3
                                            : 4;
template <int kColumnTiles>
constexpr int kStageValues = kColumnTiles * 8 * kRun;
template <int kColumnTiles>
constexpr int kWideBytes =
    kTableRoom + kStages<kColumnTiles> * kStageValues<kColumnTiles> * int{sizeof(act_t)};

// Bytes [8t, 8t + 8) of one block of 64 of rows g, g + 8, g + 16, g + 24, and the absmax of row
// g + 8t.
struct WidePiece {
  uint2 packed[4];
  uint32_t code;
  float value;
};

template <bool kNested>
__device__ inline void load_piece(WidePiece& piece, const PackedPart& w, int first_row, int block,
                                  int blocks, bool valid) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  piece.code = 0;
  piece.value = 0.0f;
  const int at = (first_row + g) * blocks + block;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    piece.packed[i] = make_uint2(0, 0);
    if (!valid || first_row + g + i * 8 >= w.out) continue;
    piece.packed[i] = stream8(w.packed + int64_t{at + i * 8 * blocks} * (kBlockValues / 2) + t * 8);
  }
  if (valid && first_row + g + t * 8 < w.out) {
    load_absmax<kNested>(piece.code, piece.value, w, at + t * 8 * blocks);
  }
}

// A stage holds, for each block of 64 columns, its rows of x as eight chunks of 16 bytes; odd rows'
// pairs of chunks are exchanged, so that two rows' even chunks lie in different banks.
__device__ inline int stage_chunk(int row, int chunk) {
  return row * kBlockValues + ((chunk ^ (row & 1)) << 3);
}

template <int kColumnTiles>
__device__ inline void load_stage(act_t* stage, const act_t* x, int64_t ldx, int m, int run,
                                  int end, int in) {
  constexpr int kRowsOfX = kColumnTiles * 8, kChunks = kBlockValues / 8;
  for (int i = threadIdx.x; run < end && i < 2 * kRowsOfX * kChunks; i += kWideBlock) {
    const int chunk = i % kChunks, n = i / kChunks % kRowsOfX, half = i / kChunks / kRowsOfX;
    const int column = run * kRun + half * kBlockValues + chunk * 8;
    const bool valid = n < m && column < in;
    copy16_async(stage + half * kRowsOfX * kBlockValues + stage_chunk(n, chunk),
                 x + (valid ? n * ldx + column : 0), valid);
  }
  copies_commit();
}

// Columns r, r + 1 of a row of `count`, zeros behind it.
__device__ inline uint32_t read_pair(const act_t* row, int r, int count) {
  return pack_bf16(r < count ? to_float(row[r]) : 0.0f,
                   r + 1 < count ? to_float(row[r + 1]) : 0.0f);
}

// partial [splits, m, units · kWideRows]: of each run of `in`; not used by one split.
template <int kColumnTiles, bool kNested, class Y>
__global__ void __launch_bounds__(kWideBlock, kColumnTiles <= 4 ? 2 : 1)
    wide_kernel(Y* y, int64_t ldy, float* partial, unsigned* tickets, const act_t* x, int64_t ldx,
                int m, PackedGroup w, float beta, DynamicMap dynamic) {
  extern __shared__ __align__(256) uint8_t shared[];
  let_next_begin();
  constexpr int kDepth = kStages<kColumnTiles>, kRowsOfX = kColumnTiles * 8;
  uint8_t* const table = table_of(shared);
  act_t* const stages = reinterpret_cast<act_t*>(table + kTableBytes);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp = threadIdx.x / kWarp, row_warp = warp % kRowWarps, half = warp / kRowWarps;
  const int unit = blockIdx.x, split = blockIdx.y, splits = gridDim.y;
  const PackedPart& part = w.part[part_of(w, unit)];
  const int unit_row = (unit - part.first_unit) * kWideRows;
  const int first_row = unit_row + row_warp * kWarpRows;
  const int blocks = w.blocks, runs = (blocks + 1) / 2;
  const int begin = runs * split / splits, end = runs * (split + 1) / splits;

  constexpr int kWideAhead = 2;
  WidePiece pieces[kWideAhead];
  const auto load = [&](WidePiece& piece, int run) {
    const int block = 2 * run + half;
    load_piece<kNested>(piece, part, first_row, block, blocks, run < end && block < blocks);
  };
#pragma unroll
  for (int i = 0; i < kWideAhead; ++i) load(pieces[i], begin + i);
  static_assert(kStageValues<kColumnTiles> * int{sizeof(act_t)} >= kStagingBytes, "the last stage");
  fill_table(table, reinterpret_cast<uint2*>(stages + (kDepth - 1) * kStageValues<kColumnTiles>),
             dynamic);
  await_previous();
#pragma unroll
  for (int i = 0; i < kDepth - 1; ++i) {
    load_stage<kColumnTiles>(stages + i * kStageValues<kColumnTiles>, x, ldx, m, begin + i, end,
                             w.in);
  }

  const uint32_t lane_at = lane_address(table);
  float sums[2][kColumnTiles][4] = {};
  int stage = 0;
#pragma unroll 1
  for (int first = begin; first < end; first += kWideAhead) {
#pragma unroll
    for (int i = 0; i < kWideAhead; ++i) {
      const int run = first + i;
      if (run >= end) break;
      copies_wait<kDepth - 2>();
      __syncthreads();  // the stage is there, and the one before is free
      {
        const int next = stage == 0 ? kDepth - 1 : stage - 1;
        load_stage<kColumnTiles>(stages + next * kStageValues<kColumnTiles>, x, ldx, m,
                                 run + kDepth - 1, end, w.in);
      }
      const WidePiece& piece = pieces[i];
      const float own = absmax_of<kNested>(piece.code, piece.value, part.offset, lane_at);
      float scale[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) scale[r] = __shfl_sync(kAllLanes, own, (lane & ~3) | r);

      const act_t* const x_block =
          stages + stage * kStageValues<kColumnTiles> + half * kRowsOfX * kBlockValues;
      // Half a block of 64 at a time, to save registers.
#pragma unroll
      for (int part_of_block = 0; part_of_block < 2; ++part_of_block) {
        uint32_t a[2][2][4];  // of two products
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const uint32_t bytes = part_of_block == 0 ? piece.packed[r].x : piece.packed[r].y;
          uint32_t (&to)[2][4] = a[r / 2];
          to[0][r % 2] = look_up<0>(bytes, lane_at);
          to[0][r % 2 + 2] = look_up<1>(bytes, lane_at);
          to[1][r % 2] = look_up<2>(bytes, lane_at);
          to[1][r % 2 + 2] = look_up<3>(bytes, lane_at);
        }
        if (part_of_block == 1) load(pieces[i], run + kWideAhead);  // the piece is used up
        // Several products at a time, which do not wait for one another.
        constexpr int kTogether = kColumnTiles >= 8 ? 2 : 1;
#pragma unroll
        for (int c = 0; c < kColumnTiles; c += kTogether) {
          uint4 b[kTogether];
          float product[kTogether][2][4] = {};
#pragma unroll
          for (int i = 0; i < kTogether; ++i) {
            b[i] = *reinterpret_cast<const uint4*>(
                x_block + stage_chunk((c + i) * 8 + g, 2 * t + part_of_block));
          }
#pragma unroll
          for (int i = 0; i < 2 * kTogether; ++i) {
            mma(product[i / 2][i % 2], a[i % 2][0], b[i / 2].x, b[i / 2].y);
          }
#pragma unroll
          for (int i = 0; i < 2 * kTogether; ++i) {
            mma(product[i / 2][i % 2], a[i % 2][1], b[i / 2].z, b[i / 2].w);
          }
#pragma unroll
          for (int i = 0; i < 8 * kTogether; ++i) {
            const int r = i / 4 % 2, j = i % 4;
            float& sum = sums[r][c + i / 8][j];
            sum = fmaf(product[i / 8][r][j], scale[2 * r + j / 2], sum);
          }
        }
      }
      stage = stage + 1 == kDepth ? 0 : stage + 1;
    }
  }

  // LoRA: sB is the next 16 columns of w, U of x, once.
  if (split == 0 && half == 0) {
    for (int k = 0; k < part.rank; k += 16) {
      uint32_t a[2][4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int row = first_row + r * 8 + g;
        const act_t* const b = part.b + int64_t{row} * part.rank;
        const int count = row < part.out ? part.rank : 0;
        a[r / 2][r % 2] = read_pair(b, k + 2 * t, count);
        a[r / 2][r % 2 + 2] = read_pair(b, k + 2 * t + 8, count);
      }
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const int n = c * 8 + g;
        const act_t* const u = x + n * ldx + w.in + part.rank_offset;
        const int count = n < m ? part.rank : 0;
        const uint32_t b0 = read_pair(u, k + 2 * t, count), b1 = read_pair(u, k + 2 * t + 8, count);
#pragma unroll
        for (int r = 0; r < 2; ++r) mma(sums[r][c], a[r], b0, b1);
      }
    }
  }

  // Both halves, [rows of x, kWideRows].
  copies_wait<0>();
  __syncthreads();
  float* const scratch = reinterpret_cast<float*>(stages);
  static_assert(
      kRowsOfX * kWideRows * sizeof(float) <= kDepth * kStageValues<kColumnTiles> * sizeof(act_t),
      "the sums fit where x was");
#pragma unroll
  for (int turn = 1; turn >= 0; --turn) {
    if (half == turn) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            float* const to = scratch + (c * 8 + 2 * t + j % 2) * kWideRows + row_warp * kWarpRows +
                              r * 16 + g + j / 2 * 8;
            *to = turn == 1 ? sums[r][c][j] : sums[r][c][j] + *to;
          }
        }
      }
    }
    __syncthreads();
  }
  const auto store = [&](int n, int i, float sum) {
    if (unit_row + i >= part.out) return;
    Y* const to = y + n * ldy + part.first + unit_row + i;
    *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
  };
  if (splits == 1) {
    for (int i = threadIdx.x; i < m * kWideRows; i += kWideBlock) {
      store(i / kWideRows, i % kWideRows, scratch[i]);
    }
    return;
  }
  // A block's sums are contiguous: partial [units, splits, m · kWideRows].
  const int count4 = m * kWideRows / 4;
  float4* const sums4 =
      reinterpret_cast<float4*>(partial) + (int64_t{unit} * splits + split) * count4;
  for (int i = threadIdx.x; i < count4; i += kWideBlock) {
    sums4[i] = reinterpret_cast<const float4*>(scratch)[i];
  }
  if (!is_last_block(tickets + unit, static_cast<unsigned>(splits))) return;
  const float4* const all4 =
      reinterpret_cast<const float4*>(partial) + int64_t{unit} * splits * count4;
  for (int i = threadIdx.x; i < count4; i += kWideBlock) {
    float4 part4[kMostSplits];
#pragma unroll
    for (int s = 0; s < kMostSplits; ++s) {
      if (s < splits) part4[s] = __ldcg(all4 + int64_t{s} * count4 + i);
    }
    float4 sum = part4[0];
#pragma unroll
    for (int s = 1; s < kMostSplits; ++s) {
      if (s >= splits) break;
      sum.x += part4[s].x;
      sum.y += part4[s].y;
      sum.z += part4[s].z;
      sum.w += part4[s].w;
    }
    const int n = i / (kWideRows / 4), row = i % (kWideRows / 4) * 4;
    store(n, row, sum.x);
    store(n, row + 1, sum.y);
    store(n, row + 2, sum.z);
    store(n, row + 3, sum.w);
  }
}

// ---- U = x · Aᵀ ---------------------------------------------------------------------------------
// A block takes 16 rows of A, 8 rows of x and one of `splits` runs of `in`, its warps a part of it
// each; the last block of a tile adds the runs in their order.

constexpr int kProjectWarps = 8, kProjectBlock = kProjectWarps * kWarp;
constexpr int kProjectSplits = 8;
constexpr int kProjectTile = 16 * 8;

// Columns [k, k + 8) of a row, zeros when the row is not there.
__device__ inline uint4 read8(const act_t* row, int k, bool valid) {
  return valid ? __ldg(reinterpret_cast<const uint4*>(row + k)) : make_uint4(0, 0, 0, 0);
}

__global__ void __launch_bounds__(kProjectBlock)
    project_kernel(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, int m, const act_t* a, int R,
                   int in, float* partial, unsigned* tickets) {
  __shared__ float scratch[kProjectWarps][kProjectTile];
  let_next_begin();
  await_previous();
  constexpr int kStep = 32,
                kProjectAhead = 4;  // columns a quad of lanes takes; steps loaded together
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarp;
  const int first_r = blockIdx.x * 16, first_n = blockIdx.y * 8, splits = gridDim.z;
  const int runs = splits * kProjectWarps, run = blockIdx.z * kProjectWarps + warp;
  const int steps = in / kStep;
  const int begin = static_cast<int>(int64_t{steps} * run / runs);
  const int end = static_cast<int>(int64_t{steps} * (run + 1) / runs);
  const act_t* const x_row = x + (first_n + g) * ldx + t * 8;
  const act_t* const a_row = a + int64_t{first_r + g} * in + t * 8;
  float sums[4] = {};
  for (int step = begin; step < end; step += kProjectAhead) {
    uint4 top[kProjectAhead], low[kProjectAhead], b[kProjectAhead];
#pragma unroll
    for (int i = 0; i < kProjectAhead; ++i) {
      const int k = (step + i) * kStep;
      const bool valid = step + i < end;
      top[i] = read8(a_row, k, valid && first_r + g < R);
      low[i] = read8(a_row + int64_t{8} * in, k, valid && first_r + g + 8 < R);
      b[i] = read8(x_row, k, valid && first_n + g < m);
    }
#pragma unroll
    for (int i = 0; i < kProjectAhead; ++i) {
      const uint32_t first[4] = {top[i].x, low[i].x, top[i].y, low[i].y};
      const uint32_t second[4] = {top[i].z, low[i].z, top[i].w, low[i].w};
      mma(sums, first, b[i].x, b[i].y);
      mma(sums, second, b[i].z, b[i].w);
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) scratch[warp][(2 * t + j % 2) * 16 + g + j / 2 * 8] = sums[j];
  __syncthreads();
  const int tile = blockIdx.y * gridDim.x + blockIdx.x;
  float* const own = partial + (int64_t{tile} * splits + blockIdx.z) * kProjectTile;
  if (threadIdx.x < kProjectTile) {
    float sum = scratch[0][threadIdx.x];
#pragma unroll
    for (int i = 1; i < kProjectWarps; ++i) sum += scratch[i][threadIdx.x];
    own[threadIdx.x] = sum;
  }
  if (!is_last_block(tickets + tile, gridDim.z)) return;
  if (threadIdx.x >= kProjectTile) return;
  const float* const all = partial + int64_t{tile} * splits * kProjectTile + threadIdx.x;
  float sum = 0.0f;
  for (int s = 0; s < splits; ++s) sum += __ldcg(all + s * kProjectTile);
  const int n = first_n + threadIdx.x / 16, r = first_r + threadIdx.x % 16;
  if (n < m && r < R) u[n * ldu + r] = from_float<act_t>(sum);
}

// ---- launches -----------------------------------------------------------------------------------

PackedGroup packed_group(const ops::DecodeGroup& group, int unit_rows) {
  PackedGroup packed = {};
  packed.parts = group.num_parts;
  packed.in = static_cast<int>(group.parts[0].w.in);
  packed.blocks = packed.in / kBlockValues;
  for (int p = 0; p < group.num_parts; ++p) {
    const ops::DecodePart& from = group.parts[p];
    PackedPart& to = packed.part[p];
    to.packed = from.w.packed;
    to.absmax = from.w.absmax;
    to.codes = from.w.absmax_codes;
    to.absmax2 = from.w.absmax2;
    to.offset = from.w.absmax_offset;
    to.out = static_cast<int>(from.w.out);
    to.first_unit = packed.units;
    to.first = from.first;
    to.b = from.scaled_b;
    to.rank = static_cast<int>(from.rank);
    to.rank_offset = static_cast<int>(from.rank_offset);
    packed.units += static_cast<int>(ceil_div(from.w.out, unit_rows));
  }
  return packed;
}

template <bool kNested, class Y>
void launch_narrow(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m,
                   const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  const PackedGroup w = packed_group(group, kTile);
  int columns = w.in;
  for (int p = 0; p < w.parts; ++p) {
    const PackedPart& part = w.part[p];
    if (part.rank > 0) columns = std::max(columns, w.in + part.rank_offset + part.rank);
  }
  columns = static_cast<int>(ceil_div(columns, 8)) * 8;
  const int with_x = kNarrowBytes + m * (columns + kXGap) * static_cast<int>(sizeof(act_t));
  const bool fits = with_x <= device.max_shared_bytes();
  const auto kernel = fits ? narrow_kernel<kNested, true, Y> : narrow_kernel<kNested, false, Y>;
  const int bytes = fits ? with_x : kNarrowBytes;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "linear_group_decode: shared memory");
  const unsigned blocks = static_cast<unsigned>(std::min(w.units, device.sm_count()));
  launch_early(kernel, blocks, kNarrowBlock, bytes, device, y, ldy, x, ldx, m, w, columns, beta,
               dynamic_map());
  check_launch("linear_group_decode, few rows");
}

// Into how many runs `in` is split: so that the blocks, a whole number of times over the
// multiprocessors, have least to do; what a block does besides is worth about three steps.
int splits_for(int units, int runs, int multiprocessors) {
  constexpr int kBesides = 3;
  int best = 1;
  int64_t least = INT64_MAX;
  for (int splits = 1; splits <= std::min(kMostSplits, runs); ++splits) {
    const int64_t cost =
        ceil_div(int64_t{units} * splits, multiprocessors) * (ceil_div(runs, splits) + kBesides);
    if (cost < least) {
      least = cost;
      best = splits;
    }
  }
  return best;
}

template <int kColumnTiles, bool kNested, class Y>
void launch_wide(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m,
                 const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  const PackedGroup w = packed_group(group, kWideRows);
  const auto kernel = wide_kernel<kColumnTiles, kNested, Y>;
  constexpr int kBytes = kWideBytes<kColumnTiles>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "linear_group_decode: shared memory");
  const int runs = static_cast<int>(ceil_div(w.in, kRun));
  const int splits = splits_for(w.units, runs, device.sm_count());
  const size_t sums = splits > 1 ? size_t(w.units) * splits * m * kWideRows : 0;
  float* const partial = static_cast<float*>(device.scratch(sums * sizeof(float)));
  unsigned* const tickets = device.tickets(splits > 1 ? w.units : 0);
  const dim3 grid(static_cast<unsigned>(w.units), static_cast<unsigned>(splits));
  launch_early(kernel, grid, kWideBlock, kBytes, device, y, ldy, partial, tickets, x, ldx, m, w,
               beta, dynamic_map());
  check_launch("linear_group_decode, many rows");
}

template <bool kNested, class Y>
void launch(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, const ops::DecodeGroup& group,
            float beta, CudaDevice& device) {
  if (m <= 8) {
    launch_wide<1, kNested>(y, ldy, x, ldx, m, group, beta, device);
  } else if (m <= 16) {
    launch_wide<2, kNested>(y, ldy, x, ldx, m, group, beta, device);
  } else if (m <= 32) {
    launch_wide<4, kNested>(y, ldy, x, ldx, m, group, beta, device);
  } else {
    launch_wide<8, kNested>(y, ldy, x, ldx, m, group, beta, device);
  }
}

// Rows beyond kMostRows in further launches; which kernel is taken depends on all of them.
template <class Y>
void product(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
             const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  const bool nested = group.parts[0].w.absmax == nullptr;
  if (m <= kNarrowRows) {
    const auto narrow = nested ? launch_narrow<true, Y> : launch_narrow<false, Y>;
    narrow(y, ldy, x, ldx, static_cast<int>(m), group, beta, device);
    return;
  }
  const auto wide = nested ? launch<true, Y> : launch<false, Y>;
  for (int64_t first = 0; first < m; first += kMostRows) {
    const int rows = static_cast<int>(std::min<int64_t>(m - first, kMostRows));
    wide(y + first * ldy, ldy, x + first * ldx, ldx, rows, group, beta, device);
  }
}

}  // namespace

void project(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, int64_t m, const act_t* a,
             int64_t R, int64_t in, CudaDevice& device) {
  const int splits =
      static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(kProjectSplits, in / 512)));
  const dim3 grid(static_cast<unsigned>(ceil_div(R, 16)), static_cast<unsigned>(ceil_div(m, 8)),
                  static_cast<unsigned>(splits));
  const int tiles = static_cast<int>(grid.x * grid.y);
  float* const partial =
      static_cast<float*>(device.scratch(size_t(tiles) * splits * kProjectTile * sizeof(float)));
  launch_early(project_kernel, grid, kProjectBlock, 0, device, u, ldu, x, ldx, static_cast<int>(m),
               a, static_cast<int>(R), static_cast<int>(in), partial, device.tickets(tiles));
  check_launch("linear_decode, few columns");
}

bool nf4_tiled(const ops::Weight& w, const act_t* x, int64_t ldx) {
  return w.packed != nullptr && w.in % kNf4Block == 0 && w.out * (w.in / kNf4Block) <= INT32_MAX &&
         rows_aligned(w.packed, 16) && rows_aligned(x, ldx);
}

void nf4_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                 const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, beta, device);
}

void nf4_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                 const ops::DecodeGroup& group, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, beta, device);
}

}  // namespace cuda

void ops::linear_group_decode(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                              const DecodeGroup& group, Device& d) {
  using namespace cuda;
  if (m == 0) return;
  CudaDevice& device = cuda_device(d);
  const int64_t in = group.parts[0].w.in;
  bool tiled = group.rank == 0 || rows_aligned(group.a, in);
  for (int p = 0; p < group.num_parts; ++p) {
    tiled = tiled && nf4_tiled(group.parts[p].w, x, ldx);
  }
  if (tiled) {
    if (group.rank > 0) project(x + in, ldx, x, ldx, m, group.a, group.rank, in, device);
    nf4_product(y, ldy, x, ldx, m, group, 0.0f, device);
    return;
  }
  const auto plain = [](const act_t* w, int64_t out, int64_t columns) {
    Weight weight;
    weight.out = out;
    weight.in = weight.ld = columns;
    weight.plain = w;
    return weight;
  };
  if (group.rank > 0) {
    linear_decode(x + in, ldx, x, ldx, m, plain(group.a, group.rank, in), 0.0f, d);
  }
  for (int p = 0; p < group.num_parts; ++p) {
    const DecodePart& part = group.parts[p];
    linear_decode(y + part.first, ldy, x, ldx, m, part.w, 0.0f, d);
    if (part.rank == 0) continue;
    linear_decode(y + part.first, ldy, x + in + part.rank_offset, ldx, m,
                  plain(part.scaled_b, part.w.out, part.rank), 1.0f, d);
  }
}

}  // namespace qlora
