// SwiGLU.  σ(x) = 1 / (1 + e⁻ˣ),  silu(x) = x · σ(x)
//   forward:  out = silu(gate) · up
//   backward: dup = dout · silu(gate),  dgate = dout · up · σ · (1 + gate · (1 − σ))
#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::swiglu_forward(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T, int64_t F,
                         Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(4 * F), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* const gate = gate_up + t * 2 * F;
      cpu::kernels().row.swiglu(out + t * ld_out, gate, gate + F, F);
    }
  });
}

void ops::swiglu_backward(act_t* gate_up, const act_t* dout, int64_t ld_dout, int64_t T, int64_t F,
                          Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(4 * F), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      act_t* const gate = gate_up + t * 2 * F;
      cpu::kernels().row.swiglu_backward(gate, gate + F, dout + t * ld_dout, F);
    }
  });
}

}  // namespace qlora
