// One group of linears that share an input, with LoRA folded into the product.
//
// With X [T, in] the input, W [out, in] the frozen weights of the parts stacked, A [R, in] their
// LoRA A stacked, sB [out, R] their scaled LoRA B on the block diagonal, drop() the dropout mask:
//   forward    U = drop(X)·Aᵀ                      Y = [X | U]·[W | sB]ᵀ
//   backward   [dX | dU] = dY·[W | sB]             dX += drop'(dU·A)
//              dA += dUᵀ·drop(X)                   dB_p += s·dY_pᵀ·U_p  for every part p
// X and dX have room for U and dU in columns [in, in + R) of their rows.
#pragma once

#include "model.h"

namespace qlora {

// What names the dropout mask of a pass.
struct Dropout {
  uint64_t seed = 0;
  uint32_t step = 0;
  float probability = 0;
};

// The rows a group works on.
struct GroupRows {
  int64_t layer = 0;
  int group = 0;
  int64_t T = 0;
  const Dropout* dropout = nullptr;    // null: off
  const int32_t* keys = nullptr;       // (T), with dropout
  const int32_t* positions = nullptr;  // (T), with dropout
};

// U only: what the backward pass needs when Y itself is not wanted again.
void group_project(act_t* x, const GroupRows& rows, Model& model);
// y [T, out] (rows ldy apart); x [T, ld]: its U columns are written.
void group_forward(act_t* y, int64_t ldy, act_t* x, const GroupRows& rows, Model& model);
// dx [T, ld]: columns [0, in) are the gradient of X when need_dx. gradients: the accumulators, in
// the adapter's layout.
void group_backward(act_t* dx, const act_t* dy, int64_t lddy, const act_t* x, bool need_dx,
                    float* gradients, const GroupRows& rows, Model& model);

}  // namespace qlora
