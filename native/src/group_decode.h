// A group of linears for few rows: the forward of linear_group.h, from the quantised weights where
// the dequantised ones are not resident or reading them takes longer.
#pragma once

#include "model.h"

namespace qlora {

// What stands around a group in a layer: linear_group_decode's fields of the same names.
struct GroupDecode {
  const act_t* residual = nullptr;
  const float* norm = nullptr;
  act_t* pair = nullptr;
  float beta = 0.0f;
};

// y [rows, out] (rows ldy apart); x [rows, ld]: given, or with a norm, room for it.
void group_decode(act_t* y, int64_t ldy, act_t* x, int64_t layer, int group, int64_t rows,
                  const GroupDecode& around, Model& model);

}  // namespace qlora
