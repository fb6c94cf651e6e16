#include "dropout.h"

#include <cmath>

#include "kernels.h"

namespace qlora {
namespace cpu {
namespace {

// What all rows of one application share.
DropoutRow mask_of(const ops::DropoutSite& site) {
  const double p = static_cast<double>(site.probability);
  DropoutRow mask{};
  mask.k0 = static_cast<uint32_t>(site.seed) ^ (site.site * 0x9E3779B9u);
  mask.k1 = static_cast<uint32_t>(site.seed >> 32);
  mask.step = site.step;
  mask.threshold = static_cast<uint32_t>(std::lround(p * 65536.0));
  mask.scale = static_cast<float>(1.0 / (1.0 - p));
  return mask;
}

}  // namespace

void drop_rows(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx, int64_t first, int64_t rows,
               int64_t C, const ops::DropoutSite& site, bool add, CpuDevice& device) {
  const DropoutRow mask = mask_of(site);
  device.parallel_range(rows, grain(2 * C), [&](int64_t begin, int64_t end) {
    DropoutRow row = mask;
    for (int64_t t = begin; t < end; ++t) {
      row.sequence = static_cast<uint32_t>(site.keys[first + t]);
      row.position = static_cast<uint32_t>(site.positions[first + t]);
      kernels().row.dropout(out + t * ld_out, x + t * ldx, C, row, add);
    }
  });
}

}  // namespace cpu
}  // namespace qlora
