// A vector of floats in the widest form the including file is compiled for. Everything here has
// internal linkage, because the same names mean different instructions in different files.
//
// kLanes floats a Vec; kTileRows × (2 · kLanes) is the product tile whose sums fit the registers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#include <arm_neon.h>
#endif

namespace qlora {
namespace cpu {
namespace {

#if defined(__AVX512F__)

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
inline void store_first(float* p, Vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
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

#elif defined(__AVX2__)

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
  const __m256i exponent = _mm256_slli_epi32(
      _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(a, _mm256_castsi256_ps(exponent));
}

#elif defined(__SSE2__) || defined(_M_X64)

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

#elif defined(__aarch64__) || defined(_M_ARM64)

using Vec = float32x4_t;
constexpr int kLanes = 4, kTileRows = 12;

inline Vec zero() { return vdupq_n_f32(0.0f); }
inline Vec broadcast(float x) { return vdupq_n_f32(x); }
inline Vec load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, Vec v) { vst1q_f32(p, v); }
inline Vec load_first(const float* p, int64_t n) {
  float lanes[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return vld1q_f32(lanes);
}
inline void store_first(float* p, Vec v, int64_t n) {
  float lanes[4];
  vst1q_f32(lanes, v);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
}
inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
inline Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }
inline Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
inline Vec sqrt(Vec a) { return vsqrtq_f32(a); }
inline Vec round(Vec a) { return vrndnq_f32(a); }
inline Vec zero_below(Vec x, Vec bound, Vec a) {
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), vcltq_f32(x, bound)));
}
inline Vec scale_by_power(Vec a, Vec n) {
  const int32x4_t exponent = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
  return vmulq_f32(a, vreinterpretq_f32_s32(exponent));
}

#else

using Vec = float;
constexpr int kLanes = 1, kTileRows = 6;

inline Vec zero() { return 0.0f; }
inline Vec broadcast(float x) { return x; }
inline Vec load(const float* p) { return *p; }
inline void store(float* p, Vec v) { *p = v; }
inline Vec load_first(const float* p, int64_t n) { return n > 0 ? *p : 0.0f; }
inline void store_first(float* p, Vec v, int64_t n) {
  if (n > 0) *p = v;
}
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec div(Vec a, Vec b) { return a / b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
inline Vec sqrt(Vec a) { return std::sqrt(a); }
inline Vec round(Vec a) { return std::nearbyint(a); }
inline Vec zero_below(Vec x, Vec bound, Vec a) { return x < bound ? 0.0f : a; }
inline Vec scale_by_power(Vec a, Vec n) { return std::ldexp(a, static_cast<int>(n)); }

#endif

// Σ of the lanes, halves added first: the same order for every form.
inline float sum_lanes(Vec v) {
#if defined(__AVX512F__)
  const __m256 halves = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xFF, v, 0),
                                      _mm512_maskz_extractf32x8_ps(0xFF, v, 1));
#elif defined(__AVX2__)
  const __m256 halves = v;
#endif
#if defined(__AVX512F__) || defined(__AVX2__)
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
#else
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
#endif
}

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

// dst (2 · bytes) = table[nibble], high nibble first; table has 16 entries.
inline void look_up_nibbles(float* dst, const uint8_t* packed, int64_t bytes, const float* table) {
  int64_t i = 0;
#if defined(__AVX512F__)
  const __m512 entries = _mm512_loadu_ps(table);
  const __m128i low_bits = _mm_set1_epi8(15);
  for (; i + 8 <= bytes; i += 8) {
    const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed + i));
    const __m128i high = _mm_and_si128(_mm_srli_epi16(pairs, 4), low_bits);
    const __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(pairs, low_bits));
    const __m512i index = _mm512_maskz_cvtepu8_epi32(kAllLanes, nibbles);
    _mm512_storeu_ps(dst + 2 * i, _mm512_maskz_permutexvar_ps(kAllLanes, index, entries));
  }
#elif defined(__AVX2__)
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
    _mm256_storeu_ps(dst + 2 * i, _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, index),
                                                   _mm256_permutevar8x32_ps(upper, index),
                                                   in_upper));
  }
#endif
  for (; i < bytes; ++i) {
    dst[2 * i] = table[packed[i] >> 4];
    dst[2 * i + 1] = table[packed[i] & 15];
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

// ---- four rows turned into columns ------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int kTurned = 16;  // columns turn_four takes
#elif defined(__AVX2__)
constexpr int kTurned = 8;
#elif defined(__SSE2__) || defined(_M_X64)
constexpr int kTurned = 4;
#else
constexpr int kTurned = 1;
#endif

// dst[c · stride + r] = src[r · ld + c] for r < 4, c < kTurned.
inline void turn_four(float* dst, int64_t stride, const float* src, int64_t ld) {
#if defined(__AVX512F__)
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
#elif defined(__AVX2__)
  const __m256 a = _mm256_loadu_ps(src), b = _mm256_loadu_ps(src + ld);
  const __m256 c = _mm256_loadu_ps(src + 2 * ld), d = _mm256_loadu_ps(src + 3 * ld);
  const __m256 ac_low = _mm256_unpacklo_ps(a, c), ac_high = _mm256_unpackhi_ps(a, c);
  const __m256 bd_low = _mm256_unpacklo_ps(b, d), bd_high = _mm256_unpackhi_ps(b, d);
  const __m256 turned[4] = {
      _mm256_unpacklo_ps(ac_low, bd_low), _mm256_unpackhi_ps(ac_low, bd_low),
      _mm256_unpacklo_ps(ac_high, bd_high), _mm256_unpackhi_ps(ac_high, bd_high)};
  for (int i = 0; i < 4; ++i) {
    _mm_storeu_ps(dst + i * stride, _mm256_castps256_ps128(turned[i]));
    _mm_storeu_ps(dst + (4 + i) * stride, _mm256_extractf128_ps(turned[i], 1));
  }
#elif defined(__SSE2__) || defined(_M_X64)
  const __m128 a = _mm_loadu_ps(src), b = _mm_loadu_ps(src + ld);
  const __m128 c = _mm_loadu_ps(src + 2 * ld), d = _mm_loadu_ps(src + 3 * ld);
  const __m128 ac_low = _mm_unpacklo_ps(a, c), ac_high = _mm_unpackhi_ps(a, c);
  const __m128 bd_low = _mm_unpacklo_ps(b, d), bd_high = _mm_unpackhi_ps(b, d);
  _mm_storeu_ps(dst, _mm_unpacklo_ps(ac_low, bd_low));
  _mm_storeu_ps(dst + stride, _mm_unpackhi_ps(ac_low, bd_low));
  _mm_storeu_ps(dst + 2 * stride, _mm_unpacklo_ps(ac_high, bd_high));
  _mm_storeu_ps(dst + 3 * stride, _mm_unpackhi_ps(ac_high, bd_high));
#else
  for (int r = 0; r < 4; ++r) dst[r] = src[r * ld];
#endif
}

// ---- 32-bit words, one in each 64-bit lane ------------------------------------------------------
// Only the lower half of a lane counts; what is above it is left over.

#if defined(__AVX512F__)

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

#elif defined(__AVX2__)

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

#elif defined(__SSE2__) || defined(_M_X64)

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

#else

using Words = uint64_t;
constexpr int kWordLanes = 1;
inline Words words(uint32_t x) { return x; }
inline Words counting_from(uint32_t x) { return x; }
inline Words product_of(Words a, Words b) { return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu); }
inline Words upper_half(Words a) { return a >> 32; }
inline Words exclusive_or(Words a, Words b, Words c) { return a ^ b ^ c; }
inline Words joined(Words low, Words high) { return (low & 0xFFFFFFFFu) | (high << 32); }
inline void store_parts(uint16_t* p, Words low, Words high) {
  for (int i = 0; i < 4; ++i) {
    p[i] = static_cast<uint16_t>(low >> (16 * i));
    p[4 + i] = static_cast<uint16_t>(high >> (16 * i));
  }
}
inline Vec scale_where(const uint16_t* parts, uint32_t threshold, float scale) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = parts[i] < threshold ? 0.0f : scale;
  return load(lanes);
}

#endif

}  // namespace
}  // namespace cpu
}  // namespace qlora
