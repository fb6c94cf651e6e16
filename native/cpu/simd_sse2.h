// SSE2, what every x86-64 has: four floats, no fused multiply-add. See simd.h, which includes this.
#pragma once

#include <emmintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace qlora {
namespace cpu {
namespace {

using Vec = __m128;
constexpr int kLanes = 4, kTileRows = 6;

inline Vec zero() { return _mm_setzero_ps(); }
inline Vec broadcast(float x) { return _mm_set1_ps(x); }
inline Vec load(const float* p) { return _mm_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm_storeu_ps(p, v); }
inline Vec load_first(const float* p, int64_t n) {
  float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return _mm_loadu_ps(lanes);
}
inline void store_first(float* p, Vec v, int64_t n) {
  float lanes[4];
  _mm_storeu_ps(lanes, v);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
}
inline Vec add(Vec a, Vec b) { return _mm_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline Vec max(Vec a, Vec b) { return _mm_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm_min_ps(a, b); }
inline Vec sqrt(Vec a) { return _mm_sqrt_ps(a); }
inline Vec round(Vec a) { return _mm_cvtepi32_ps(_mm_cvtps_epi32(a)); }
inline Vec zero_below(Vec x, Vec bound, Vec a) { return _mm_and_ps(_mm_cmpnlt_ps(x, bound), a); }
inline Vec scale_by_power(Vec a, Vec n) {
  const __m128i exponent =
      _mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127)), 23);
  return _mm_mul_ps(a, _mm_castsi128_ps(exponent));
}
inline float sum_lanes(Vec v) {
  const __m128 sum = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_shuffle_ps(sum, sum, 1)));
}

// dst (2 · bytes) = table[nibble], high nibble first; table has 16 entries.
inline void look_up_nibbles(float* dst, const uint8_t* packed, int64_t bytes, const float* table) {
  int64_t i = 0;
  for (; i < bytes; ++i) {
    dst[2 * i] = table[packed[i] >> 4];
    dst[2 * i + 1] = table[packed[i] & 15];
  }
}

constexpr int kTurned = 4;  // columns turn_four takes

// dst[c · stride + r] = src[r · ld + c] for r < 4, c < kTurned.
inline void turn_four(float* dst, int64_t stride, const float* src, int64_t ld) {
  const __m128 a = _mm_loadu_ps(src), b = _mm_loadu_ps(src + ld);
  const __m128 c = _mm_loadu_ps(src + 2 * ld), d = _mm_loadu_ps(src + 3 * ld);
  const __m128 ac_low = _mm_unpacklo_ps(a, c), ac_high = _mm_unpackhi_ps(a, c);
  const __m128 bd_low = _mm_unpacklo_ps(b, d), bd_high = _mm_unpackhi_ps(b, d);
  _mm_storeu_ps(dst, _mm_unpacklo_ps(ac_low, bd_low));
  _mm_storeu_ps(dst + stride, _mm_unpackhi_ps(ac_low, bd_low));
  _mm_storeu_ps(dst + 2 * stride, _mm_unpacklo_ps(ac_high, bd_high));
  _mm_storeu_ps(dst + 3 * stride, _mm_unpackhi_ps(ac_high, bd_high));
}

// Words: 32-bit words, one in each 64-bit lane; what is above a word is left over.
using Words = __m128i;
constexpr int kWordLanes = 2;
inline Words words(uint32_t x) {
  return _mm_set_epi32(0, static_cast<int>(x), 0, static_cast<int>(x));
}
inline Words counting_from(uint32_t x) {
  return _mm_set_epi32(0, static_cast<int>(x + 1), 0, static_cast<int>(x));
}
inline Words product_of(Words a, Words b) { return _mm_mul_epu32(a, b); }
inline Words upper_half(Words a) { return _mm_srli_epi64(a, 32); }
inline Words exclusive_or(Words a, Words b, Words c) {
  return _mm_xor_si128(_mm_xor_si128(a, b), c);
}
inline Words joined(Words low, Words high) {
  const __m128i lower = _mm_set_epi32(0, -1, 0, -1);
  return _mm_or_si128(_mm_and_si128(low, lower), _mm_slli_epi64(high, 32));
}
inline void store_parts(uint16_t* p, Words low, Words high) {
  __m128i* const to = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(to, _mm_unpacklo_epi64(low, high));
  _mm_storeu_si128(to + 1, _mm_unpackhi_epi64(low, high));
}
inline Vec scale_where(const uint16_t* parts, uint32_t threshold, float scale) {
  const __m128i narrow = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(parts));
  const __m128i wide = _mm_unpacklo_epi16(narrow, _mm_setzero_si128());
  const __m128i below = _mm_cmpgt_epi32(_mm_set1_epi32(static_cast<int>(threshold)), wide);
  return _mm_andnot_ps(_mm_castsi128_ps(below), broadcast(scale));
}

}  // namespace
}  // namespace cpu
}  // namespace qlora
