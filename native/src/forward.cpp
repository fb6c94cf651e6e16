#include "forward.h"

namespace qlora {

namespace {

// Residual → norm → q, k, v → rope → attention.
void attention_block(Pass& pass, int64_t layer) {
  const Architecture& arch = pass.model.arch();
  const LayerWeights& w = pass.model.weights().layer(layer);
  Device& d = pass.model.device();
  LayerActivations& a = pass.activations.slot(layer);
  const int64_t T = pass.batch.T;
  const int64_t ld = arch.qkv_columns();
  group_forward(a.qkv, ld, a.in, group_rows(pass, layer, kGroupQkv), pass.model);
  if (w.qkv_bias != nullptr) ops::bias_forward(a.qkv, ld, w.qkv_bias, T, ld, d);
  if (w.q_norm != nullptr) {
    ops::head_norm_forward(a.qkv, ld, a.rstd_q, w.q_norm, T, 0, arch.Q, arch.D, arch.eps(), d);
    ops::head_norm_forward(a.qkv, ld, a.rstd_k, w.k_norm, T, arch.Q, arch.G, arch.D, arch.eps(), d);
  }
  ops::rope(a.qkv, ld, pass.activations.batch.positions, pass.model.weights().rope_cos(),
            pass.model.weights().rope_sin(), T, arch.Q, arch.G, arch.D, false, d);
  ops::attention_forward(a.att, pass.model.groups()[kGroupO].ld, a.lse, a.qkv, ld,
                         attention_shape(pass), d);
}

// Attention's output → mid → norm → gate, up → silu(gate)·up.
void mlp_block(Pass& pass, int64_t layer) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  const int64_t T = rows_behind_attention(pass, layer);
  const int64_t ld_att = pass.model.groups()[kGroupO].ld;
  const bool last = layer == arch.L - 1;
  if (last) {
    ops::gather_rows(act.last_att, a.att, ld_att, act.batch.last_rows, T, arch.Q * arch.D, d);
    ops::gather_rows(act.last_residual, act.residual(layer), arch.H, act.batch.last_rows, T, arch.H,
                     d);
  }
  group_forward(act.delta, arch.H, last ? act.last_att : a.att, group_rows(pass, layer, kGroupO),
                pass.model);
  ops::rmsnorm_forward(a.mlp_in, pass.model.groups()[kGroupGateUp].ld, a.rstd_mid, act.mid(layer),
                       last ? act.last_residual : act.residual(layer), act.delta,
                       pass.model.weights().layer(layer).post_norm, T, arch.H, arch.eps(), d);
  group_forward(a.gate_up, 2 * arch.F, a.mlp_in, group_rows(pass, layer, kGroupGateUp), pass.model);
  ops::swiglu_forward(a.mlp, pass.model.groups()[kGroupDown].ld, a.gate_up, T, arch.F, d);
}

}  // namespace

int64_t rows_behind_attention(const Pass& pass, int64_t layer) {
  return layer == pass.model.arch().L - 1 ? pass.batch.num_last_rows() : pass.batch.T;
}

GroupRows group_rows(const Pass& pass, int64_t layer, int group) {
  const DeviceBatch& batch = pass.activations.batch;
  const bool last = layer == pass.model.arch().L - 1 && group != kGroupQkv;
  GroupRows rows;
  rows.layer = layer;
  rows.group = group;
  rows.T = last ? pass.batch.num_last_rows() : pass.batch.T;
  rows.dropout = pass.dropout;
  rows.keys = last ? batch.last_keys : batch.keys;
  rows.positions = last ? batch.last_positions : batch.positions;
  return rows;
}

ops::AttentionShape attention_shape(const Pass& pass) {
  const Architecture& arch = pass.model.arch();
  ops::AttentionShape shape{};
  shape.T = pass.batch.T;
  shape.P = pass.batch.P;
  shape.S = pass.batch.S;
  shape.Q = arch.Q;
  shape.G = arch.G;
  shape.D = arch.D;
  shape.max_sequence = pass.batch.max_sequence;
  shape.cu_seqlens = pass.activations.batch.cu_seqlens;
  shape.cu_seqlens_host = pass.batch.cu_seqlens.data();
  return shape;
}

void forward(Pass& pass) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  const int64_t T = pass.batch.T;
  ops::embedding_forward(act.residual(0), act.batch.token_ids, pass.model.weights().embeddings(), T,
                         arch.H, d);
  for (int64_t layer = 0; layer < arch.L; ++layer) {
    pass.model.check_cancelled();
    LayerActivations& a = act.slot(layer);
    const float* norm = pass.model.weights().layer(layer).input_norm;
    const int64_t ld = pass.model.groups()[kGroupQkv].ld;
    if (layer == 0) {
      ops::rmsnorm_forward(a.in, ld, a.rstd_in, nullptr, act.residual(0), nullptr, norm, T, arch.H,
                           arch.eps(), d);
    } else {
      ops::rmsnorm_forward(a.in, ld, a.rstd_in, act.residual(layer), act.mid(layer - 1), act.delta,
                           norm, T, arch.H, arch.eps(), d);
    }
    attention_block(pass, layer);
    mlp_block(pass, layer);
    group_forward(act.delta, arch.H, a.mlp, group_rows(pass, layer, kGroupDown), pass.model);
  }
}

namespace {

// What lies between the products, which were kept.
void recompute_between_products(Pass& pass, int64_t layer) {
  const Architecture& arch = pass.model.arch();
  const auto& groups = pass.model.groups();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  Device& d = pass.model.device();
  const int64_t T = pass.batch.T;
  group_project(a.in, group_rows(pass, layer, kGroupQkv), pass.model);
  ops::attention_forward(a.att, groups[kGroupO].ld, a.lse, a.qkv, arch.qkv_columns(),
                         attention_shape(pass), d);
  group_project(a.att, group_rows(pass, layer, kGroupO), pass.model);
  ops::rmsnorm_forward(a.mlp_in, groups[kGroupGateUp].ld, a.rstd_mid, nullptr, a.mid, nullptr,
                       pass.model.weights().layer(layer).post_norm, T, arch.H, arch.eps(), d);
  group_project(a.mlp_in, group_rows(pass, layer, kGroupGateUp), pass.model);
  ops::swiglu_forward(a.mlp, groups[kGroupDown].ld, a.gate_up, T, arch.F, d);
}

}  // namespace

void recompute_layer(Pass& pass, int64_t layer) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  LayerActivations& a = act.slot(layer);
  ops::rmsnorm_forward(a.in, pass.model.groups()[kGroupQkv].ld, a.rstd_in, nullptr,
                       act.residual(layer), nullptr, pass.model.weights().layer(layer).input_norm,
                       pass.batch.T, arch.H, arch.eps(), pass.model.device());
  if (act.kept(layer)) {
    recompute_between_products(pass, layer);
  } else {
    attention_block(pass, layer);
    mlp_block(pass, layer);
  }
  group_project(a.mlp, group_rows(pass, layer, kGroupDown), pass.model);
}

}  // namespace qlora
