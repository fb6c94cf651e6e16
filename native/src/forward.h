// The forward pass over a packed micro-batch, up to the residual that enters the final norm.
#pragma once

#include "activations.h"
#include "batch.h"
#include "linear_group.h"
#include "model.h"

namespace qlora {

// One pass over one micro-batch, whose arrays are on the device already.
struct Pass {
  Model& model;
  Activations& activations;
  const Batch& batch;
  const Dropout* dropout;  // null: off
};

// Leaves mid(L − 1) and delta of the last rows: the last residual is their sum.
void forward(Pass& pass);
// Computes a layer's activations again from what was kept of them: all that the backward pass
// reads.
void recompute_layer(Pass& pass, int64_t layer);

// The rows of one group's products. In the last layer all but q, k, v work on the last rows only.
GroupRows group_rows(const Pass& pass, int64_t layer, int group);
// Rows behind a layer's attention.
int64_t rows_behind_attention(const Pass& pass, int64_t layer);
ops::AttentionShape attention_shape(const Pass& pass);

}  // namespace qlora
