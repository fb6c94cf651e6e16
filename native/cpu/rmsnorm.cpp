// RMSNorm, fused with the residual addition before it.
//   forward:  x = residual + delta,  rstd = 1 / √(mean(x²) + eps),  out = x · rstd · weight
//   backward: g = dout · weight,  dresidual += rstd · (g − x · rstd² · mean(g · x))
#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::rmsnorm_forward(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                          const act_t* residual, const act_t* delta, const float* weight, int64_t T,
                          int64_t H, float eps, Device& d) {
  const cpu::RowKernels& row = cpu::kernels().row;
  cpu::cpu_device(d).parallel_range(T, cpu::grain(2 * H), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* x = residual + t * H;
      if (delta != nullptr) {
        row.add(sum + t * H, x, delta + t * H, H);
        x = sum + t * H;
      }
      const float scale = row.norm(out + t * ld_out, x, weight, H, eps);
      if (rstd != nullptr) rstd[t] = scale;
    }
  });
}

void ops::rmsnorm_backward(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                           const float* rstd, const float* weight, int64_t T, int64_t H,
                           Device& d) {
  const cpu::RowKernels& row = cpu::kernels().row;
  cpu::cpu_device(d).parallel_range(T, cpu::grain(2 * H), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      row.norm_backward(dresidual + t * H, dout + t * ld_out, x + t * H, weight, rstd[t], H);
    }
  });
}

}  // namespace qlora
