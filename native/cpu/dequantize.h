// One row of a weight, whatever its form, as floats.
#pragma once

#include "ops.h"

namespace qlora {
namespace cpu {

// dst (w.in)
void read_weight_row(float* dst, const ops::Weight& w, int64_t row);

}  // namespace cpu
}  // namespace qlora
