#include "backward.h"

namespace qlora {

namespace {

// The gradient of the residual behind a layer's attention: of the last rows only in the last layer.
act_t* residual_gradient(Pass& pass, int64_t layer) {
  return layer == pass.model.arch().L - 1 ? pass.activations.last_dresidual
                                          : pass.activations.dresidual;
}

// Gradients of the last rows take their places among all rows: dx → datt, and the residual's.
void spread_last_rows(Pass& pass) {
  const Architecture& arch = pass.model.arch();
  const int64_t ld = pass.model.groups()[kGroupO].ld;
  const int64_t rows = pass.batch.num_last_rows();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  d.fill_zero(act.datt, static_cast<size_t>(pass.batch.T * ld) * sizeof(act_t));
  ops::scatter_add_rows(act.datt, act.dx, ld, act.batch.last_rows, rows, arch.Q * arch.D, d);
  d.fill_zero(act.dresidual, static_cast<size_t>(pass.batch.T * arch.H) * sizeof(act_t));
  ops::scatter_add_rows(act.dresidual, act.last_dresidual, arch.H, act.batch.last_rows, rows,
                        arch.H, d);
}

// The residual's gradient is that of X[i + 1]; it becomes that of mid.
void mlp_backward(Pass& pass, int64_t layer, float* gradients) {
  const Architecture& arch = pass.model.arch();
  const auto& groups = pass.model.groups();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  const int64_t T = rows_behind_attention(pass, layer);
  act_t* dresidual = residual_gradient(pass, layer);
  group_backward(act.dx, dresidual, arch.H, a.mlp, true, gradients,
                 group_rows(pass, layer, kGroupDown), pass.model);
  ops::swiglu_backward(a.gate_up, act.dx, groups[kGroupDown].ld, T, arch.F, d);
  group_backward(act.dx, a.gate_up, 2 * arch.F, a.mlp_in, true, gradients,
                 group_rows(pass, layer, kGroupGateUp), pass.model);
  ops::rmsnorm_backward(dresidual, act.dx, groups[kGroupGateUp].ld, a.mid, a.rstd_mid,
                        pass.model.weights().layer(layer).post_norm, T, arch.H, d);
}

// From the gradient of q, k, v after rope to that before the per-head norms.
void rope_backward(Pass& pass, int64_t layer) {
  const Architecture& arch = pass.model.arch();
  const Weights& weights = pass.model.weights();
  const LayerWeights& w = weights.layer(layer);
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  const int64_t T = pass.batch.T;
  const int64_t ld = arch.qkv_columns();
  ops::rope(act.dqkv, ld, act.batch.positions, weights.rope_cos(), weights.rope_sin(), T, arch.Q,
            arch.G, arch.D, true, d);
  if (w.q_norm == nullptr) return;
  // The norms' outputs are q and k turned back; attention needs them no more.
  ops::rope(a.qkv, ld, act.batch.positions, weights.rope_cos(), weights.rope_sin(), T, arch.Q,
            arch.G, arch.D, true, d);
  ops::head_norm_backward(act.dqkv, ld, a.qkv, ld, a.rstd_q, w.q_norm, T, 0, arch.Q, arch.D, d);
  ops::head_norm_backward(act.dqkv, ld, a.qkv, ld, a.rstd_k, w.k_norm, T, arch.Q, arch.G, arch.D,
                          d);
}

// The residual's gradient is that of mid; it becomes that of X[i]. Nothing trainable lies below
// layer 0's first products, so its own input gradient is not computed.
void attention_block_backward(Pass& pass, int64_t layer, float* gradients) {
  const Architecture& arch = pass.model.arch();
  const auto& groups = pass.model.groups();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  const bool last = layer == arch.L - 1;
  group_backward(act.dx, residual_gradient(pass, layer), arch.H, last ? act.last_att : a.att, true,
                 gradients, group_rows(pass, layer, kGroupO), pass.model);
  if (last) spread_last_rows(pass);
  ops::attention_backward(act.dqkv, arch.qkv_columns(), last ? act.datt : act.dx,
                          groups[kGroupO].ld, a.att, groups[kGroupO].ld, a.lse, a.qkv,
                          arch.qkv_columns(), act.attention_workspace, attention_shape(pass), d);
  rope_backward(pass, layer);
  group_backward(act.dx, act.dqkv, arch.qkv_columns(), a.in, layer > 0, gradients,
                 group_rows(pass, layer, kGroupQkv), pass.model);
  if (layer == 0) return;
  ops::rmsnorm_backward(act.dresidual, act.dx, groups[kGroupQkv].ld, act.residual(layer), a.rstd_in,
                        pass.model.weights().layer(layer).input_norm, pass.batch.T, arch.H, d);
}

}  // namespace

void backward(Pass& pass, float* gradients) {
  for (int64_t layer = pass.model.arch().L - 1; layer >= 0; --layer) {
    pass.model.check_cancelled();
    if (!pass.activations.whole(layer)) recompute_layer(pass, layer);
    mlp_backward(pass, layer, gradients);
    attention_block_backward(pass, layer, gradients);
  }
}

}  // namespace qlora
