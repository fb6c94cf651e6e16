// Dropout over rows (formula in ops.h, DropoutSite), for the ops that drop.
#pragma once

#include "cpu_device.h"

namespace qlora {
namespace cpu {

// out = drop(x), or with add out += drop(x).  x, out [rows, C]: tokens [first, first + rows) of the
// site's.
void drop_rows(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx, int64_t first, int64_t rows,
               int64_t C, const ops::DropoutSite& site, bool add, CpuDevice& device);

}  // namespace cpu
}  // namespace qlora
