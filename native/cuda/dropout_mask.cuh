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
  uint32_t limit;  // a uniform in the upper half of a word, the lower half being 0, up to it drops
  bool active;     // false: everything is kept
  float scale;     // 1 / (1 − p)
  const int32_t* keys;       // (T)
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
  mask.limit = mask.active ? static_cast<uint32_t>(threshold * 65536 - 1) : 0;
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
__device__ inline MaskColumns mask_columns(const DropoutMask& mask, int64_t column) {
  const uint32_t group = static_cast<uint32_t>(column / 8);
  const uint32_t c2 = __umulhi(kPhiloxM0, group) ^ mask.step ^ mask.key1[0];
  return {kPhiloxM0 * group, __umulhi(kPhiloxM1, c2), kPhiloxM1 * c2};
}
// Word i decides columns 2i (lower half) and 2i + 1 (upper half) of the group.
__device__ inline PhiloxWords mask_words(const DropoutMask& mask, const MaskRow& row,
                                         const MaskColumns& columns) {
  // Nothing drops where all bits are set and the limit is 0.
  if (!mask.active) return {{~0u, ~0u, ~0u, ~0u}};
  uint32_t c0 = columns.high ^ row.low, c1 = columns.carry;
  uint32_t c2 = row.high ^ columns.low, c3 = row.carry;
#pragma unroll
  for (int round = 2; round < kPhiloxRounds; ++round) {
    const uint32_t high0 = __umulhi(kPhiloxM0, c0), high1 = __umulhi(kPhiloxM1, c2);
    const uint32_t low0 = kPhiloxM0 * c0, low1 = kPhiloxM1 * c2;
    c0 = high1 ^ c1 ^ mask.key0[round];
    c2 = high0 ^ c3 ^ mask.key1[round];
    c1 = low1;
    c3 = low0;
  }
  return {{c0, c1, c2, c3}};
}

__device__ inline bool drops_lower(uint32_t word, uint32_t limit) { return word << 16 <= limit; }
__device__ inline bool drops_upper(uint32_t word, uint32_t limit) { return word <= limit; }

// Two bf16 with the dropped ones zero.
__device__ inline uint32_t masked_pair(uint32_t pair, uint32_t word, uint32_t limit) {
  if (drops_lower(word, limit)) pair &= 0xffff0000u;
  if (drops_upper(word, limit)) pair &= 0x0000ffffu;
  return pair;
}
__device__ inline uint4 masked8(uint4 x, const PhiloxWords& words, uint32_t limit) {
  return make_uint4(masked_pair(x.x, words.word[0], limit), masked_pair(x.y, words.word[1], limit),
                    masked_pair(x.z, words.word[2], limit), masked_pair(x.w, words.word[3], limit));
}

}  // namespace cuda
}  // namespace qlora
