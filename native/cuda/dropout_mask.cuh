// The dropout mask (ops.h, DropoutSite) in registers: eight columns of a token a call of Philox.
//
// Of the counter (column / 8, position, sequence key, step), the first word and the last are the
// same down a column, the others along a row. In the first two rounds rows and columns do not meet
// in a product, so those are worked out once for each row and for each group of columns:
//   round 1   c0' = hi(M1·key) ^ position ^ k0     row      c1' = lo(M1·key)      row
//             c2' = hi(M0·column) ^ step ^ k1      column   c3' = lo(M0·column)   column
//   round 2   c0" = hi(M1·c2') ^ c1' ^ k0          both     c1" = lo(M1·c2')      column
//             c2" = hi(M0·c0') ^ c3' ^ k1          both     c3" = lo(M0·c0')      row
// Eight rounds are left: 16 wide multiplications and 18 exclusive ors for eight elements.
#pragma once

#include <cmath>

#include "common.cuh"
#include "philox.cuh"

namespace qlora {
namespace cuda {

// What all elements of one application share; a kernel's argument.
struct DropoutMask {
  uint32_t key0[kPhiloxRounds], key1[kPhiloxRounds];  // round keys
  uint32_t step;
  uint32_t addend;      // in both halves: a uniform is kept where adding it carries beyond 16 bits
  bool active;          // false: everything is kept
  float scale;          // 1 / (1 − p)
  const int32_t* keys;  // (T)
  const int32_t* positions;  // (T)
};

inline DropoutMask mask_of(const ops::DropoutSite* site) {
  DropoutMask mask = {};
  mask.scale = 1.0f;
  if (site == nullptr) return mask;
  const double p = static_cast<double>(site->probability);
  const int64_t threshold = std::llround(p * 65536.0);
  uint32_t k0 = static_cast<uint32_t>(site->seed) ^ (site->site * 0x9E3779B9u);
  uint32_t k1 = static_cast<uint32_t>(site->seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    mask.key0[round] = k0;
    mask.key1[round] = k1;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  mask.step = site->step;
  mask.active = threshold > 0;
  mask.addend = static_cast<uint32_t>(65536 - threshold) * 0x10001u;
  mask.scale = static_cast<float>(1.0 / (1.0 - p));
  mask.keys = site->keys;
  mask.positions = site->positions;
  return mask;
}

// A token's share of the first two rounds, and a column group's.
struct MaskRow {
  uint32_t low, high, carry;
};
struct MaskColumns {
  uint32_t low, high, carry;
};

__device__ inline MaskRow mask_row(const DropoutMask& mask, int32_t key, int32_t position) {
  const uint32_t k = static_cast<uint32_t>(key);
  const uint32_t c0 = __umulhi(kPhiloxM1, k) ^ static_cast<uint32_t>(position) ^ mask.key0[0];
  return {kPhiloxM1 * k ^ mask.key0[1], __umulhi(kPhiloxM0, c0) ^ mask.key1[1], kPhiloxM0 * c0};
}
__device__ inline MaskColumns mask_columns(const DropoutMask& mask, int column) {
  const uint32_t group = static_cast<uint32_t>(column) / 8;
  const uint32_t c2 = __umulhi(kPhiloxM0, group) ^ mask.step ^ mask.key1[0];
  return {kPhiloxM0 * group, __umulhi(kPhiloxM1, c2), kPhiloxM1 * c2};
}
// Eight columns' decisions: the sign of each half of pair i is set where column 2i (lower half) or
// 2i + 1 (upper half) is kept; the other bits mean nothing.
struct Kept {
  uint32_t pair[4];
};
__device__ inline Kept kept_all() { return {{~0u, ~0u, ~0u, ~0u}}; }
// Of an active mask.
__device__ inline Kept kept_of(const DropoutMask& mask, const MaskRow& row,
                               const MaskColumns& columns) {
  uint32_t c[4] = {columns.high ^ row.low, columns.carry, row.high ^ columns.low, row.carry};
#pragma unroll
  for (int round = 2; round < kPhiloxRounds; ++round) {
    philox_round(c, mask.key0[round], mask.key1[round]);
  }
  Kept kept;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    // Both halves at once: the carry out of 16 bits is the majority of the two top bits and the
    // carry into them.
    const uint32_t sum = (c[i] & 0x7fff7fffu) + (mask.addend & 0x7fff7fffu);
    kept.pair[i] = (c[i] & mask.addend) | (sum & (c[i] | mask.addend));
  }
  return kept;
}
__device__ inline bool keeps_lower(uint32_t pair) { return static_cast<int32_t>(pair << 16) < 0; }
__device__ inline bool keeps_upper(uint32_t pair) { return static_cast<int32_t>(pair) < 0; }

// Two bf16 with the dropped ones zero.
__device__ inline uint32_t masked_pair(uint32_t x, uint32_t kept) {
  uint32_t both;  // every bit of a half is its sign
  asm("prmt.b32 %0, %1, 0, 0xBB99;\n" : "=r"(both) : "r"(kept));
  return x & both;
}
__device__ inline uint4 masked8(uint4 x, const Kept& kept) {
  return make_uint4(masked_pair(x.x, kept.pair[0]), masked_pair(x.y, kept.pair[1]),
                    masked_pair(x.z, kept.pair[2]), masked_pair(x.w, kept.pair[3]));
}

}  // namespace cuda
}  // namespace qlora
