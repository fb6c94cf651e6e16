// RMSNorm, fused with the residual addition before it.
//   forward:  x = residual + delta,  rstd = 1 / √(mean(x²) + eps),  out = x · rstd · weight
//   backward: g = dout · weight,  dresidual += rstd · (g − x · rstd² · mean(g · x))
#include <cmath>

#include "cpu_device.h"

namespace qlora {

void ops::rmsnorm_forward(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                          const act_t* residual, const act_t* delta, const float* weight, int64_t T,
                          int64_t H, float eps, Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(H), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* x = residual + t * H;
      if (delta != nullptr) {
        act_t* const total = sum + t * H;
        for (int64_t c = 0; c < H; ++c) total[c] = x[c] + delta[t * H + c];
        x = total;
      }
      float squares = 0.0f;
      for (int64_t c = 0; c < H; ++c) squares += x[c] * x[c];
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(H) + eps);
      if (rstd != nullptr) rstd[t] = scale;
      for (int64_t c = 0; c < H; ++c) out[t * ld_out + c] = x[c] * scale * weight[c];
    }
  });
}

void ops::rmsnorm_backward(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                           const float* rstd, const float* weight, int64_t T, int64_t H,
                           Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(H), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* const row = x + t * H;
      const act_t* const grad = dout + t * ld_out;
      float dot = 0.0f;
      for (int64_t c = 0; c < H; ++c) dot += grad[c] * weight[c] * row[c];
      const float scale = rstd[t];
      const float pull = scale * scale * scale * dot / static_cast<float>(H);
      for (int64_t c = 0; c < H; ++c) {
        dresidual[t * H + c] += scale * grad[c] * weight[c] - pull * row[c];
      }
    }
  });
}

}  // namespace qlora
