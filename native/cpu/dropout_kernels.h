// Dropout of one row (formula in dropout.cpp).
#pragma once

#include "kernels.h"
#include "philox.h"
#include "simd.h"

namespace qlora {
namespace cpu {
namespace {

constexpr int kStreams = 4;                    // Philox states worked on side by side
constexpr int kDrawn = kStreams * kWordLanes;  // counters drawn at a time
constexpr int kDrawColumns = 8 * kDrawn;       // columns they decide

// uniforms (kDrawColumns): those of the columns from 8 · first on.
void draw(uint16_t* uniforms, uint32_t first, const DropoutRow& row) {
  Words c0[kStreams], c1[kStreams], c2[kStreams], c3[kStreams];
  for (int i = 0; i < kStreams; ++i) {
    c0[i] = counting_from(first + static_cast<uint32_t>(i * kWordLanes));
    c1[i] = words(row.position);
    c2[i] = words(row.sequence);
    c3[i] = words(row.step);
  }
  const Words m0 = words(kPhiloxM0), m1 = words(kPhiloxM1);
  uint32_t k0 = row.k0, k1 = row.k1;
  for (int round = 0; round < 10; ++round) {
    const Words key0 = words(k0), key1 = words(k1);
    for (int i = 0; i < kStreams; ++i) {
      const Words p0 = product_of(c0[i], m0), p1 = product_of(c2[i], m1);
      c0[i] = exclusive_or(upper_half(p1), c1[i], key0);
      c2[i] = exclusive_or(upper_half(p0), c3[i], key1);
      c1[i] = p1;
      c3[i] = p0;
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  for (int i = 0; i < kStreams; ++i) {
    store_parts(uniforms + i * 8 * kWordLanes, joined(c0[i], c1[i]), joined(c2[i], c3[i]));
  }
}

void row_dropout(float* out, const float* x, int64_t n, const DropoutRow& row, bool add_to) {
  uint16_t uniforms[kDrawColumns];
  for (int64_t begin = 0; begin < n; begin += kDrawColumns) {
    draw(uniforms, static_cast<uint32_t>(begin / 8), row);
    const int64_t end = begin + kDrawColumns < n ? begin + kDrawColumns : n;
    for (int64_t i = begin; i < end; i += kLanes) {
      const Vec factor = scale_where(uniforms + (i - begin), row.threshold, row.scale);
      Vec kept = mul(factor, load_at(x, i, end));
      if (add_to) kept = add(load_at(out, i, end), kept);
      store_at(out, i, end, kept);
    }
  }
}

}  // namespace
}  // namespace cpu
}  // namespace qlora
