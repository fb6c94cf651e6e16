// AVX-512 (F, DQ, BW, VL): sixteen floats. See simd.h, which includes this.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace qlora {
namespace cpu {
namespace {

using Vec = __m512;
constexpr int kLanes = 16, kTileRows = 12;
// Some unmasked forms make GCC 12 warn of uninitialised values in its own header; the same with
// every lane chosen does not.
constexpr __mmask16 kAllLanes = 0xFFFF;

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline Vec load_first(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline void store_first(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }  // a · b + c
inline Vec max(Vec a, Vec b) { return _mm512_maskz_max_ps(kAllLanes, a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_maskz_min_ps(kAllLanes, a, b); }
inline Vec sqrt(Vec a) { return _mm512_maskz_sqrt_ps(kAllLanes, a); }
inline Vec round(Vec a) { return _mm512_maskz_roundscale_ps(kAllLanes, a, 8); }
// a where x ≥ bound, else 0
inline Vec zero_below(Vec x, Vec bound, Vec a) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), a);
}
// a · 2ⁿ, n integral, −127 < n < 128
inline Vec scale_by_power(Vec a, Vec n) { return _mm512_maskz_scalef_ps(kAllLanes, a, n); }
// Σ of the lanes, halves added first; the same order in every form.
inline float sum_lanes(Vec v) {
  const __m256 eight = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, v, 0),
                                     _mm512_maskz_extractf32x8_ps(0xFF, v, 1));
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

// dst (2 · bytes) = table[nibble], high nibble first; table has 16 entries.
inline void look_up_nibbles(float* dst, const uint8_t* packed, int64_t bytes, const float* table) {
  int64_t i = 0;
  const __m512 entries = _mm512_loadu_ps(table);
  const __m128i low_bits = _mm_set1_epi8(15);
  for (; i + 8 <= bytes; i += 8) {
    const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed + i));
    const __m128i high = _mm_and_si128(_mm_srli_epi16(pairs, 4), low_bits);
    const __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(pairs, low_bits));
    const __m512i index = _mm512_maskz_cvtepu8_epi32(kAllLanes, nibbles);
    _mm512_storeu_ps(dst + 2 * i, _mm512_maskz_permutexvar_ps(kAllLanes, index, entries));
  }
  for (; i < bytes; ++i) {
    dst[2 * i] = table[packed[i] >> 4];
    dst[2 * i + 1] = table[packed[i] & 15];
  }
}

constexpr int kTurned = 16;  // columns turn_four takes

// dst[c · stride + r] = src[r · ld + c] for r < 4, c < kTurned.
inline void turn_four(float* dst, int64_t stride, const float* src, int64_t ld) {
  const __m512 a = _mm512_loadu_ps(src), b = _mm512_loadu_ps(src + ld);
  const __m512 c = _mm512_loadu_ps(src + 2 * ld), d = _mm512_loadu_ps(src + 3 * ld);
  const __m512 ac_low = _mm512_maskz_unpacklo_ps(kAllLanes, a, c);
  const __m512 ac_high = _mm512_maskz_unpackhi_ps(kAllLanes, a, c);
  const __m512 bd_low = _mm512_maskz_unpacklo_ps(kAllLanes, b, d);
  const __m512 bd_high = _mm512_maskz_unpackhi_ps(kAllLanes, b, d);
  // of each four columns the first, second, third, fourth
  const __m512 turned[4] = {_mm512_maskz_unpacklo_ps(kAllLanes, ac_low, bd_low),
                            _mm512_maskz_unpackhi_ps(kAllLanes, ac_low, bd_low),
                            _mm512_maskz_unpacklo_ps(kAllLanes, ac_high, bd_high),
                            _mm512_maskz_unpackhi_ps(kAllLanes, ac_high, bd_high)};
  for (int i = 0; i < 4; ++i) {
    float* const to = dst + i * stride;
    _mm_storeu_ps(to, _mm512_maskz_extractf32x4_ps(15, turned[i], 0));
    _mm_storeu_ps(to + 4 * stride, _mm512_maskz_extractf32x4_ps(15, turned[i], 1));
    _mm_storeu_ps(to + 8 * stride, _mm512_maskz_extractf32x4_ps(15, turned[i], 2));
    _mm_storeu_ps(to + 12 * stride, _mm512_maskz_extractf32x4_ps(15, turned[i], 3));
  }
}

// Words: 32-bit words, one in each 64-bit lane; what is above a word is left over.
using Words = __m512i;
constexpr int kWordLanes = 8;
inline Words words(uint32_t x) { return _mm512_set1_epi64(static_cast<int64_t>(x)); }
inline Words counting_from(uint32_t x) {
  return _mm512_add_epi64(words(x), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
}
// the whole 64-bit product of the lower halves
inline Words product_of(Words a, Words b) { return _mm512_maskz_mul_epu32(0xFF, a, b); }
inline Words upper_half(Words a) { return _mm512_maskz_srli_epi64(0xFF, a, 32); }
inline Words exclusive_or(Words a, Words b, Words c) {
  return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
// lower half of low, then lower half of high
inline Words joined(Words low, Words high) {
  return _mm512_mask_shuffle_epi32(low, 0xAAAA, high, _MM_PERM_CCAA);
}
// For each lane the four 16-bit parts of low, then those of high, lowest first.
inline void store_parts(uint16_t* p, Words low, Words high) {
  const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  const __m512i last = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi64(low, first, high));
  _mm512_storeu_si512(p + 32, _mm512_permutex2var_epi64(low, last, high));
}
// kLanes values: scale where the part is at least threshold, else 0.
inline Vec scale_where(const uint16_t* parts, uint32_t threshold, float scale) {
  const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(parts));
  const __m512i wide = _mm512_maskz_cvtepu16_epi32(kAllLanes, narrow);
  const __m512i bound = _mm512_set1_epi32(static_cast<int>(threshold));
  return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(wide, bound), broadcast(scale));
}

}  // namespace
}  // namespace cpu
}  // namespace qlora
