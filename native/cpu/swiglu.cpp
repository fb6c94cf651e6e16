// SwiGLU.  σ(x) = 1 / (1 + e⁻ˣ),  silu(x) = x · σ(x)
//   forward:  out = silu(gate) · up
//   backward: dup = dout · silu(gate),  dgate = dout · up · σ · (1 + gate · (1 − σ))
#include <cmath>

#include "cpu_device.h"

namespace qlora {

void ops::swiglu_forward(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T, int64_t F,
                         Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(4 * F), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* const gate = gate_up + t * 2 * F;
      const act_t* const up = gate + F;
      for (int64_t c = 0; c < F; ++c) {
        out[t * ld_out + c] = gate[c] / (1.0f + std::exp(-gate[c])) * up[c];
      }
    }
  });
}

void ops::swiglu_backward(act_t* gate_up, const act_t* dout, int64_t ld_dout, int64_t T, int64_t F,
                          Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(4 * F), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      act_t* const gate = gate_up + t * 2 * F;
      act_t* const up = gate + F;
      const act_t* const grad = dout + t * ld_dout;
      for (int64_t c = 0; c < F; ++c) {
        const float sigma = 1.0f / (1.0f + std::exp(-gate[c]));
        const float dgate = grad[c] * up[c] * sigma * (1.0f + gate[c] * (1.0f - sigma));
        up[c] = grad[c] * gate[c] * sigma;
        gate[c] = dgate;
      }
    }
  });
}

}  // namespace qlora
