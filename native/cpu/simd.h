// A vector of floats in the widest form the including file is compiled for. Everything here has
// internal linkage, because the same names mean different instructions in different files.
//
// simd_<form>.h define:
//   Vec, kLanes, kTileRows   kTileRows × (2 · kLanes) is the product tile whose sums fit the
//   registers zero, broadcast, load, store, load_first, store_first (the first n lanes), add, sub,
//   mul, div, fma (a · b + c), max, min, sqrt, round, sum_lanes zero_below (a where x ≥ bound, else
//   0), scale_by_power (a · 2ⁿ, n integral, −127 < n < 128) look_up_nibbles, turn_four (a
//   transpose), Words (for Philox), scale_where (for dropout)
#pragma once

#if defined(__AVX512F__)
#include "simd_avx512.h"
#elif defined(__AVX2__)
#include "simd_avx2.h"
#elif defined(__SSE2__) || defined(_M_X64)
#include "simd_sse2.h"
#elif defined(__aarch64__) || defined(_M_ARM64)
#include "simd_neon.h"
#else
#include "simd_scalar.h"
#endif

namespace qlora {
namespace cpu {
namespace {

inline float max_lanes(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  float top = lanes[0];
  for (int i = 1; i < kLanes; ++i) top = lanes[i] > top ? lanes[i] : top;
  return top;
}

// eˣ to about 2 ulp; 0 below −87.3, the largest power of e that fits above 88.3, NaN for NaN.
// x = n · ln 2 + r, |r| ≤ ln 2 / 2, eʳ by a polynomial (coefficients as in Cephes' expf).
inline Vec exp(Vec x) {
  const Vec least = broadcast(-87.3365447f);
  const Vec bounded = max(least, min(broadcast(88.3762626f), x));
  const Vec n = round(mul(bounded, broadcast(1.44269504088896341f)));
  const Vec r = fma(n, broadcast(2.12194440e-4f), fma(n, broadcast(-0.693359375f), bounded));
  Vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = add(fma(p, mul(r, r), r), broadcast(1.0f));
  return zero_below(x, least, scale_by_power(p, n));
}

// kLanes values of row x (n) from i on; those beyond n are 0, and are not written.
inline Vec load_at(const float* x, int64_t i, int64_t n) {
  return i + kLanes <= n ? load(x + i) : load_first(x + i, n - i);
}
inline void store_at(float* x, int64_t i, int64_t n, Vec v) {
  if (i + kLanes <= n) {
    store(x + i, v);
  } else {
    store_first(x + i, v, n - i);
  }
}

// Asks for the line at p, which need not be readable.
inline void prefetch(const float* p) {
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__) || defined(_M_X64)
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
#elif defined(__GNUC__)
  __builtin_prefetch(p);
#else
  static_cast<void>(p);
#endif
}

}  // namespace
}  // namespace cpu
}  // namespace qlora
