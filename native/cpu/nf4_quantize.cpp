// nf4_quantize: per block of 64 values, absmax = max |v|, code = number of thresholds below
// v · (1 / absmax). A threshold is the midpoint of two neighbouring codes. In the short last block
// v is divided by absmax instead: bit for bit what bitsandbytes does on a CPU.
#include <algorithm>
#include <cmath>

#include "cpu_device.h"
#include "nf4.h"

namespace qlora {
namespace {

constexpr float kSmallest = 1e-38f;  // bitsandbytes divides by no less

// x in [−1, 1]; NaN becomes the last code, as a search through sorted thresholds gives it.
uint8_t encode(float x, const float* thresholds) {
  int code = 0;
  for (int i = 0; i < 15; ++i) code += !(x <= thresholds[i]);
  return static_cast<uint8_t>(code);
}

float clamp_unit(float x) { return x < -1.0f ? -1.0f : (x > 1.0f ? 1.0f : x); }

}  // namespace

void ops::nf4_quantize(uint8_t* packed, float* absmax, const float* values, int64_t count,
                       Device& d) {
  float thresholds[15];
  for (int i = 0; i < 15; ++i) thresholds[i] = (cpu::kNf4[i] + cpu::kNf4[i + 1]) / 2.0f;

  const int64_t blocks = (count + cpu::kNf4Block - 1) / cpu::kNf4Block;
  const int64_t min_blocks = cpu::grain(cpu::kNf4Block * 16);
  cpu::cpu_device(d).parallel_range(blocks, min_blocks, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * cpu::kNf4Block;
      const int64_t size = std::min(cpu::kNf4Block, count - begin);
      const bool is_short = size < cpu::kNf4Block;
      float largest = 0.0f;
      for (int64_t i = 0; i < size; ++i) largest = std::max(largest, std::fabs(values[begin + i]));
      absmax[block] = is_short ? std::max(largest, kSmallest) : largest;

      const float divisor = std::max(largest, kSmallest);
      const float inverse = 1.0f / divisor;
      uint8_t codes[cpu::kNf4Block + 1];
      for (int64_t i = 0; i < size; ++i) {
        const float value = values[begin + i];
        codes[i] = encode(clamp_unit(is_short ? value / divisor : value * inverse), thresholds);
      }
      codes[size] = encode(0.0f, thresholds);  // fills the last byte of an odd count
      for (int64_t i = 0; i < size; i += 2) {
        packed[(begin + i) / 2] = static_cast<uint8_t>((codes[i] << 4) | codes[i + 1]);
      }
    }
  });
}

}  // namespace qlora
