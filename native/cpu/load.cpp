// load_act, load_f32: checkpoint bytes of any float type, any alignment, to fp32.
//   F32: as it is.  BF16: the upper half of an fp32.  F16: 1 sign, 5 exponent, 10 mantissa bits.
#include <cstring>
#include <string>

#include "cpu_device.h"
#include "error.h"

namespace qlora {
namespace {

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float from_bf16(uint16_t half) { return from_bits(uint32_t{half} << 16); }

float from_f16(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  const uint32_t mantissa = half & 0x3FFu;
  if (exponent == 0x1F) return from_bits(sign | 0x7F800000u | (mantissa << 13));
  if (exponent != 0) return from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2⁻²⁴
  return sign != 0 ? -subnormal : subnormal;
}

template <float (*Convert)(uint16_t)>
void convert(float* dst, const unsigned char* src, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    uint16_t half;
    std::memcpy(&half, src + 2 * i, sizeof(half));
    dst[i] = Convert(half);
  }
}

}  // namespace

void ops::load_f32(float* dst, const void* src_host, int dtype, int64_t count, void*, Device& d) {
  if (dtype != QLORA_F32 && dtype != QLORA_F16 && dtype != QLORA_BF16) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "dtype: expected F32, F16 or BF16, found " + std::to_string(dtype));
  }
  const unsigned char* const src = static_cast<const unsigned char*>(src_host);
  cpu::cpu_device(d).parallel_range(count, cpu::grain(1), [&](int64_t begin, int64_t end) {
    if (dtype == QLORA_F32) {
      std::memcpy(dst + begin, src + 4 * begin, size_t(end - begin) * 4);
    } else if (dtype == QLORA_F16) {
      convert<from_f16>(dst, src, begin, end);
    } else {
      convert<from_bf16>(dst, src, begin, end);
    }
  });
}

void ops::load_act(act_t* dst, const void* src_host, int dtype, int64_t count, void* staging,
                   Device& d) {
  load_f32(dst, src_host, dtype, count, staging, d);
}

}  // namespace qlora
