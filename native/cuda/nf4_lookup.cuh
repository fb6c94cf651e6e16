// What the products of few rows with NF4 weights share: a group's parts as the kernels see them,
// the table of pairs of codes, the absmax, and the pieces of w a lane loads.
//
// A byte is looked up as a pair of bf16 codes in a table each lane has its own column of (no bank
// conflicts): one byte permutation makes the address. The product of a block of 64 is scaled by its
// absmax in fp32: only the sixteen codes are rounded, after a scaling at which they lose least.
#pragma once

#include <algorithm>

#include "common.cuh"
#include "mma.cuh"
#include "nf4.cuh"
#include "ops.h"

namespace qlora {
namespace cuda {

constexpr int kBlockValues = static_cast<int>(kNf4Block);
constexpr int kRun = 2 * kBlockValues;  // columns of w a step takes

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

// Units of unit_rows rows of w.
inline PackedGroup packed_group(const ops::DecodeGroup& group, int unit_rows) {
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

// The code of each lane's number, modulo 16: instructions, where a table in memory would be two
// misses one behind the other at the start of every kernel.
__device__ inline float code_of_lane() {
  const float codes[16] = {
      kNf4[0], kNf4[1], kNf4[2],  kNf4[3],  kNf4[4],  kNf4[5],  kNf4[6],  kNf4[7],
      kNf4[8], kNf4[9], kNf4[10], kNf4[11], kNf4[12], kNf4[13], kNf4[14], kNf4[15],
  };
  const int lane = threadIdx.x % 16;
  float code = codes[0];
#pragma unroll
  for (int i = 1; i < 16; ++i) code = lane == i ? codes[i] : code;
  return code;
}

// staging: 2 KB of shared memory for the while. Parameters are read once, all lines of them at the
// same time: one after another each would be a miss of the constant cache.
__device__ inline void fill_table(uint8_t* table, uint2* staging, const DynamicMap& dynamic) {
  const float code = code_of_lane() * kCodeScale;
  for (int byte = threadIdx.x; byte < 256; byte += blockDim.x) {  // whole warps
    // The high nibble comes first: the low half of the pair.
    const float first = __shfl_sync(kAllLanes, code, byte >> 4);
    staging[byte] = make_uint2(pack_bf16(first, code), __float_as_uint(dynamic.value[byte]));
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

// ---- pieces of w --------------------------------------------------------------------------------

constexpr int kTile = 16;  // rows of w a warp takes together

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
    enter(part, (tile - part.first_unit) * kTile + g, w.in, w.blocks, t);
  }
  __device__ void enter(const PackedPart& part, int row, int in, int blocks, int t) {
    const int low_row = min(row, part.out - 1), high_row = min(row + 8, part.out - 1);
    packed = part.packed + int64_t{low_row} * (in / 2) + t % 2 * 16;
    high = (high_row - low_row) * (in / 2);
    block = (t % 2 == 0 ? low_row : high_row) * blocks;
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

// Brings s·B of a part's row near: it is read when the sums are done.
__device__ inline void prefetch_b(const PackedPart& part, int row) {
  if (part.rank == 0 || row >= part.out) return;
  asm volatile("prefetch.global.L2 [%0];" ::"l"(part.b + int64_t{row} * part.rank));
}

}  // namespace cuda
}  // namespace qlora
