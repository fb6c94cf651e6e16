#include "backward.h"

namespace qlora {

namespace {

// dresidual is the gradient of X[i + 1]; it becomes that of mid.
void mlp_backward(Pass& pass, int64_t layer, float* gradients) {
  const Architecture& arch = pass.model.arch();
  const auto& groups = pass.model.groups();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  const int64_t T = pass.batch.T;
  group_backward(act.dx, act.dresidual, arch.H, a.mlp, true, gradients,
                 group_rows(pass, layer, kGroupDown), pass.model);
  ops::swiglu_backward(a.gate_up, act.dx, groups[kGroupDown].ld, T, arch.F, d);
  group_backward(act.dx, a.gate_up, 2 * arch.F, a.mlp_in, true, gradients,
                 group_rows(pass, layer, kGroupGateUp), pass.model);
  ops::rmsnorm_backward(act.dresidual, act.dx, groups[kGroupGateUp].ld, a.mid, a.rstd_mid,
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

// dresidual is the gradient of mid; it becomes that of X[i]. Nothing trainable lies below layer 0's
// first products, so its own input gradient is not computed.
void attention_block_backward(Pass& pass, int64_t layer, float* gradients) {
  const Architecture& arch = pass.model.arch();
  const auto& groups = pass.model.groups();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  group_backward(act.dx, act.dresidual, arch.H, a.att, true, gradients,
                 group_rows(pass, layer, kGroupO), pass.model);
  ops::attention_backward(act.dqkv, arch.qkv_columns(), act.dx, groups[kGroupO].ld, a.att,
                          groups[kGroupO].ld, a.lse, a.qkv, arch.qkv_columns(),
                          act.attention_workspace, attention_shape(pass), d);
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
    if (!pass.activations.kept(layer)) recompute_layer(pass, layer);
    mlp_backward(pass, layer, gradients);
    attention_block_backward(pass, layer, gradients);
  }
}

}  // namespace qlora
