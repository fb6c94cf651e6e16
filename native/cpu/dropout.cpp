// dropout: out = mask · x / (1 − p); backward dx += mask · dout / (1 − p).
// Mask: eight 16-bit uniforms from philox(counter (column / 8, position, sequence key, step),
// key (seed_lo ^ site · 0x9E3779B9, seed_hi)), low half of word 0 first; kept where
// u16 ≥ round(p · 65536).
#include <cmath>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {
namespace {

// What all rows of one application share.
cpu::DropoutRow mask_of(const ops::DropoutSite& site) {
  const double p = static_cast<double>(site.probability);
  cpu::DropoutRow mask{};
  mask.k0 = static_cast<uint32_t>(site.seed) ^ (site.site * 0x9E3779B9u);
  mask.k1 = static_cast<uint32_t>(site.seed >> 32);
  mask.step = site.step;
  mask.threshold = static_cast<uint32_t>(std::lround(p * 65536.0));
  mask.scale = static_cast<float>(1.0 / (1.0 - p));
  return mask;
}

void drop_rows(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx, const int32_t* keys,
               const int32_t* positions, int64_t T, int64_t C, const ops::DropoutSite& site,
               bool add, Device& d) {
  const cpu::DropoutRow mask = mask_of(site);
  cpu::cpu_device(d).parallel_range(T, cpu::grain(2 * C), [&](int64_t begin, int64_t end) {
    cpu::DropoutRow row = mask;
    for (int64_t t = begin; t < end; ++t) {
      row.sequence = static_cast<uint32_t>(keys[t]);
      row.position = static_cast<uint32_t>(positions[t]);
      cpu::kernels().row.dropout(out + t * ld_out, x + t * ldx, C, row, add);
    }
  });
}

}  // namespace

void ops::dropout_forward(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx,
                          const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                          const DropoutSite& site, Device& d) {
  drop_rows(out, ld_out, x, ldx, keys, positions, T, C, site, false, d);
}

void ops::dropout_backward(act_t* dx, int64_t ldx, const act_t* dout, int64_t ld_out,
                           const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                           const DropoutSite& site, Device& d) {
  drop_rows(dx, ldx, dout, ld_out, keys, positions, T, C, site, true, d);
}

}  // namespace qlora
