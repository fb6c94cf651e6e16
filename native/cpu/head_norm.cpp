// Per-head RMSNorm of q and k, in place.
//   forward:  rstd = 1 / √(mean(x²) + eps),  y = x · rstd · weight
//   backward: x̂ = y / weight,  dx = rstd · (dy · weight − x̂ · mean(dy · y))
// x itself is gone, so x̂ comes from y; where a weight is exactly 0, x̂ counts as 0.
#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::head_norm_forward(act_t* qkv, int64_t ld, float* rstd, const float* weight, int64_t T,
                            int64_t first, int64_t count, int64_t D, float eps, Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(count * D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t head = 0; head < count; ++head) {
        act_t* const x = qkv + t * ld + (first + head) * D;
        const float scale = cpu::kernels().row.norm(x, x, weight, D, eps);
        if (rstd != nullptr) rstd[t * count + head] = scale;
      }
    }
  });
}

void ops::head_norm_backward(act_t* dqkv, int64_t ld, const act_t* y, int64_t ldy,
                             const float* rstd, const float* weight, int64_t T, int64_t first,
                             int64_t count, int64_t D, Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(count * D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t head = 0; head < count; ++head) {
        act_t* const grad = dqkv + t * ld + (first + head) * D;
        const act_t* const out = y + t * ldy + (first + head) * D;
        float dot = 0.0f;
        for (int64_t c = 0; c < D; ++c) dot += grad[c] * out[c];
        const float mean = dot / static_cast<float>(D);
        const float scale = rstd[t * count + head];
        for (int64_t c = 0; c < D; ++c) {
          const float normal = weight[c] != 0.0f ? out[c] / weight[c] : 0.0f;
          grad[c] = scale * (grad[c] * weight[c] - normal * mean);
        }
      }
    }
  });
}

}  // namespace qlora
