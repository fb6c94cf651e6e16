// NEON (arm64): four floats. See simd.h, which includes this.
#pragma once

#include <arm_neon.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace qlora {
namespace cpu {
namespace {

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
inline float sum_lanes(Vec v) {
  const float32x2_t sum = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(sum, 0) + vget_lane_f32(sum, 1);
}

// dst (2 · bytes) = table[nibble], high nibble first; table has 16 entries.
inline void look_up_nibbles(float* dst, const uint8_t* packed, int64_t bytes, const float* table) {
  int64_t i = 0;
  for (; i < bytes; ++i) {
    dst[2 * i] = table[packed[i] >> 4];
    dst[2 * i + 1] = table[packed[i] & 15];
  }
}

constexpr int kTurned = 1;  // columns turn_four takes

// dst[c · stride + r] = src[r · ld + c] for r < 4, c < kTurned.
inline void turn_four(float* dst, int64_t, const float* src, int64_t ld) {
  for (int r = 0; r < 4; ++r) dst[r] = src[r * ld];
}

// Words: 32-bit words, one in each 64-bit lane; what is above a word is left over.
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

}  // namespace
}  // namespace cpu
}  // namespace qlora
