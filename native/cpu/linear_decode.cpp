// linear_decode: y = x · wᵀ + beta · y for few rows. A weight row is read (from NF4 if need be)
// once, then met by every row of x.
#include "cpu_device.h"
#include "dequantize.h"

namespace qlora {

void ops::linear_decode(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const Weight& w, float beta, Device& d) {
  cpu::CpuDevice& device = cpu::cpu_device(d);
  device.reserve_worker_scratch(size_t(w.in) * sizeof(float));
  device.parallel(w.out, [&](int64_t row, int worker) {
    float* const weights = device.worker_scratch(worker);
    cpu::read_weight_row(weights, w, row);
    for (int64_t i = 0; i < m; ++i) {
      const act_t* const from = x + i * ldx;
      float sum = 0.0f;
      for (int64_t p = 0; p < w.in; ++p) sum += weights[p] * from[p];
      act_t* const out = y + i * ldy + row;
      *out = beta == 0.0f ? sum : sum + beta * *out;
    }
  });
}

void ops::linear_decode_f32(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                            const Weight& w, Device& d) {
  linear_decode(y, ldy, x, ldx, m, w, 0.0f, d);
}

}  // namespace qlora
