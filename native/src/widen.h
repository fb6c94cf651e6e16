// Activations as floats on the host: the CPU build keeps fp32, the CUDA build bf16.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "act_type.h"

namespace qlora {

inline void widen(float* dst, const act_t* src, int64_t count) {
  if constexpr (std::is_same<act_t, float>::value) {
    std::memcpy(dst, src, static_cast<size_t>(count) * sizeof(float));
  } else {
    for (int64_t i = 0; i < count; ++i) {
      uint16_t half;
      std::memcpy(&half, src + i, sizeof half);
      const uint32_t bits = static_cast<uint32_t>(half) << 16;
      std::memcpy(dst + i, &bits, sizeof bits);
    }
  }
}

}  // namespace qlora
