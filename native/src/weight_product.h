// The two products with a group's frozen weights, over the windows its tile holds:
//   Y [T, out] = [X | U]·[W | sB]ᵀ,  a window of rows at a time
//   [dX | dU] [T, in + R] = dY·[W | sB],  a window of columns at a time
// No sum is cut: a window changes how much is computed at once, never the terms of an element.
#pragma once

#include "model.h"

namespace qlora {

// x: rows groups[group].ld apart.
void weight_forward(act_t* y, int64_t ldy, const act_t* x, int64_t layer, int group, int64_t T,
                    Model& model);
// Columns [first, in + R) of dx, whose rows are groups[group].ld apart.
void weight_backward(act_t* dx, int64_t first, const act_t* dy, int64_t lddy, int64_t layer,
                     int group, int64_t T, Model& model);

}  // namespace qlora
