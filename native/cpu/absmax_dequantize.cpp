// absmax_dequantize: absmax[i] = map[codes[i]] · absmax2[i / 256] + offset.
#include "cpu_device.h"
#include "nf4.h"

namespace qlora {

void ops::absmax_dequantize(float* absmax, const uint8_t* codes, const float* absmax2, float offset,
                            int64_t count, Device&) {
  const float* const map = cpu::dynamic_map();
  for (int64_t i = 0; i < count; ++i) {
    absmax[i] = map[codes[i]] * absmax2[i / cpu::kAbsmaxBlock] + offset;
  }
}

}  // namespace qlora
