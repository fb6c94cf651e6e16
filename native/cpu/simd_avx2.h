// AVX2 and FMA: eight floats. See simd.h, which includes this.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace qlora {
namespace cpu {
namespace {

using Vec = __m256;
constexpr int kLanes = 8, kTileRows = 6;

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec load_first(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_first(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
inline Vec round(Vec a) { return _mm256_round_ps(a, 8); }
inline Vec zero_below(Vec x, Vec bound, Vec a) {
  return _mm256_and_ps(_mm256_cmp_ps(x, bound, _CMP_NLT_UQ), a);
}
inline Vec scale_by_power(Vec a, Vec n) {
  const __m256i exponent =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(a, _mm256_castsi256_ps(exponent));
}
inline float sum_lanes(Vec v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

// dst (2 · bytes) = table[nibble], high nibble first; table has 16 entries.
inline void look_up_nibbles(float* dst, const uint8_t* packed, int64_t bytes, const float* table) {
  int64_t i = 0;
  const __m256 lower = _mm256_loadu_ps(table), upper = _mm256_loadu_ps(table + 8);
  const __m128i low_bits = _mm_set1_epi8(15);
  for (; i + 4 <= bytes; i += 4) {
    int32_t four;
    std::memcpy(&four, packed + i, sizeof(four));
    const __m128i pairs = _mm_cvtsi32_si128(four);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(pairs, 4), low_bits);
    const __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(pairs, low_bits));
    const __m256i index = _mm256_cvtepu8_epi32(nibbles);
    const __m256 in_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    _mm256_storeu_ps(dst + 2 * i,
                     _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, index),
                                      _mm256_permutevar8x32_ps(upper, index), in_upper));
  }
  for (; i < bytes; ++i) {
    dst[2 * i] = table[packed[i] >> 4];
    dst[2 * i + 1] = table[packed[i] & 15];
  }
}

constexpr int kTurned = 8;  // columns turn_four takes

// dst[c · stride + r] = src[r · ld + c] for r < 4, c < kTurned.
inline void turn_four(float* dst, int64_t stride, const float* src, int64_t ld) {
  const __m256 a = _mm256_loadu_ps(src), b = _mm256_loadu_ps(src + ld);
  const __m256 c = _mm256_loadu_ps(src + 2 * ld), d = _mm256_loadu_ps(src + 3 * ld);
  const __m256 ac_low = _mm256_unpacklo_ps(a, c), ac_high = _mm256_unpackhi_ps(a, c);
  const __m256 bd_low = _mm256_unpacklo_ps(b, d), bd_high = _mm256_unpackhi_ps(b, d);
  const __m256 turned[4] = {_mm256_unpacklo_ps(ac_low, bd_low), _mm256_unpackhi_ps(ac_low, bd_low),
                            _mm256_unpacklo_ps(ac_high, bd_high),
                            _mm256_unpackhi_ps(ac_high, bd_high)};
  for (int i = 0; i < 4; ++i) {
    _mm_storeu_ps(dst + i * stride, _mm256_castps256_ps128(turned[i]));
    _mm_storeu_ps(dst + (4 + i) * stride, _mm256_extractf128_ps(turned[i], 1));
  }
}

// Words: 32-bit words, one in each 64-bit lane; what is above a word is left over.
using Words = __m256i;
constexpr int kWordLanes = 4;
inline Words words(uint32_t x) { return _mm256_set1_epi64x(static_cast<int64_t>(x)); }
inline Words counting_from(uint32_t x) {
  return _mm256_add_epi64(words(x), _mm256_setr_epi64x(0, 1, 2, 3));
}
inline Words product_of(Words a, Words b) { return _mm256_mul_epu32(a, b); }
inline Words upper_half(Words a) { return _mm256_srli_epi64(a, 32); }
inline Words exclusive_or(Words a, Words b, Words c) {
  return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}
inline Words joined(Words low, Words high) {
  return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xAA);
}
inline void store_parts(uint16_t* p, Words low, Words high) {
  const __m256i even = _mm256_unpacklo_epi64(low, high), odd = _mm256_unpackhi_epi64(low, high);
  __m256i* const to = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
  _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
}
inline Vec scale_where(const uint16_t* parts, uint32_t threshold, float scale) {
  const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(parts));
  const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(threshold)),
                                           _mm256_cvtepu16_epi32(narrow));
  return _mm256_andnot_ps(_mm256_castsi256_ps(below), broadcast(scale));
}

}  // namespace
}  // namespace cpu
}  // namespace qlora
