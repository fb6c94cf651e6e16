// A group of linears for few rows: the forward of linear_group.h, from the quantised weights where
// the dequantised ones are not resident or reading them takes longer.
#pragma once

#include "model.h"

namespace qlora {

// y [rows, out] (rows ldy apart); x [rows, ld]: its U columns may be written.
void group_decode(act_t* y, int64_t ldy, act_t* x, int64_t layer, int group, int64_t rows,
                  Model& model);

}  // namespace qlora
