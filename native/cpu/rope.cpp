// rope: rotary position embedding, Hugging Face's half-split layout, in place. With h = D / 2, the
// pair (x[i], x[i + h]) turns by the angle of (position, i):
//   x[i] ← x[i] · cos − x[i + h] · sin,  x[i + h] ← x[i + h] · cos + x[i] · sin
// The backward pass turns the other way.
#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::rope(act_t* qkv, int64_t ld, const int32_t* positions, const float* cos, const float* sin,
               int64_t T, int64_t Q, int64_t G, int64_t D, bool inverse, Device& d) {
  const int64_t half = D / 2;
  const cpu::RowKernels& row = cpu::kernels().row;
  const float sign = inverse ? -1.0f : 1.0f;
  cpu::cpu_device(d).parallel_range(T, cpu::grain((Q + G) * D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* const c = cos + positions[t] * half;
      const float* const s = sin + positions[t] * half;
      for (int64_t head = 0; head < Q + G; ++head) {
        act_t* const x = qkv + t * ld + head * D;
        row.rotate(x, x + half, c, s, sign, half);
      }
    }
  });
}

}  // namespace qlora
