// dropout: out = mask · x / (1 − p); backward dx += mask · dout / (1 − p).
// Mask: eight 16-bit uniforms from philox(counter (column / 8, position, sequence key, step),
// key (seed_lo ^ site · 0x9E3779B9, seed_hi)), low half of word 0 first; kept where
// u16 ≥ round(p · 65536).
#include <algorithm>
#include <cmath>

#include "cpu_device.h"
#include "philox.h"

namespace qlora {
namespace {

struct Mask {
  uint32_t k0, k1, step, threshold;
  float scale;
};

Mask mask_of(const ops::DropoutSite& site) {
  const double p = static_cast<double>(site.probability);
  Mask mask;
  mask.k0 = static_cast<uint32_t>(site.seed) ^ (site.site * 0x9E3779B9u);
  mask.k1 = static_cast<uint32_t>(site.seed >> 32);
  mask.step = site.step;
  mask.threshold = static_cast<uint32_t>(std::lround(p * 65536.0));
  mask.scale = static_cast<float>(1.0 / (1.0 - p));
  return mask;
}

// body(column, factor): factor is 0 or 1 / (1 − p).
template <class Body>
void for_row(const Mask& mask, uint32_t key, uint32_t position, int64_t C, const Body& body) {
  for (int64_t column = 0; column < C; column += 8) {
    const cpu::PhiloxWords words = cpu::philox(static_cast<uint32_t>(column / 8), position, key,
                                               mask.step, mask.k0, mask.k1);
    const int64_t size = std::min<int64_t>(8, C - column);
    for (int64_t i = 0; i < size; ++i) {
      const uint32_t uniform = (words.word[i / 2] >> (16 * (i % 2))) & 0xFFFFu;
      body(column + i, uniform < mask.threshold ? 0.0f : mask.scale);
    }
  }
}

}  // namespace

void ops::dropout_forward(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx,
                          const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                          const DropoutSite& site, Device& d) {
  const Mask mask = mask_of(site);
  cpu::cpu_device(d).parallel_range(T, cpu::grain(C), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* const from = x + t * ldx;
      act_t* const to = out + t * ld_out;
      for_row(mask, static_cast<uint32_t>(keys[t]), static_cast<uint32_t>(positions[t]), C,
              [&](int64_t c, float factor) { to[c] = from[c] * factor; });
    }
  });
}

void ops::dropout_backward(act_t* dx, int64_t ldx, const act_t* dout, int64_t ld_out,
                           const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                           const DropoutSite& site, Device& d) {
  const Mask mask = mask_of(site);
  cpu::cpu_device(d).parallel_range(T, cpu::grain(C), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const act_t* const from = dout + t * ld_out;
      act_t* const to = dx + t * ldx;
      for_row(mask, static_cast<uint32_t>(keys[t]), static_cast<uint32_t>(positions[t]), C,
              [&](int64_t c, float factor) { to[c] += from[c] * factor; });
    }
  });
}

}  // namespace qlora
