// A weight, whatever its form, as floats: one row, or columns of one.
#pragma once

#include "ops.h"

namespace qlora {
namespace cpu {

// dst (w.in)
void read_weight_row(float* dst, const ops::Weight& w, int64_t row);
// dst (columns)
void read_weight_columns(float* dst, const ops::Weight& w, int64_t row, int64_t column,
                         int64_t columns);

}  // namespace cpu
}  // namespace qlora
