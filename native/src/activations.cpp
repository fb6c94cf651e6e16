#include "activations.h"

#include <algorithm>

namespace qlora {

namespace {

// Target rows whose logits exist at a time: bounded in bytes for large vocabularies.
constexpr int64_t kLogitBytes = int64_t{96} << 20;
constexpr int64_t kMinChunk = 64;
constexpr int64_t kMaxChunk = 512;

int64_t chunk_rows(const Architecture& arch, int64_t targets) {
  const int64_t row_bytes = arch.V * static_cast<int64_t>(sizeof(float) + sizeof(act_t));
  const int64_t rows = std::max(kMinChunk, std::min(kMaxChunk, kLogitBytes / row_bytes));
  return std::min(rows, targets);
}

}  // namespace

Activations::Activations(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                         const Capacity& capacity)
    : capacity_(capacity), layers_(arch.L) {
  const int64_t T = capacity.tokens;
  constexpr Memory kind = Memory::activations;
  residuals_.resize(capacity.training ? static_cast<size_t>(arch.L) : 1);
  for (act_t*& residual : residuals_) arena_.add(residual, kind, T * arch.H);
  slots_.resize(static_cast<size_t>(capacity.slots));
  for (LayerActivations& layer : slots_) add_layer(layer, arch, groups);
  arena_.add(delta, kind, T * arch.H);

  arena_.add(batch.token_ids, kind, T);
  arena_.add(batch.positions, kind, T);
  arena_.add(batch.keys, kind, T);
  arena_.add(batch.cu_seqlens, kind, capacity.sequences + 1);
  arena_.add(batch.target_rows, kind, capacity.targets);
  arena_.add(batch.target_ids, kind, capacity.targets);
  arena_.add(batch.target_weights, kind, capacity.targets);
  const int64_t last_rows = std::min(T, capacity.targets);
  arena_.add(batch.last_rows, kind, last_rows);
  arena_.add(batch.last_positions, kind, last_rows);
  arena_.add(batch.last_keys, kind, last_rows);
  arena_.add(last_att, kind, last_rows * groups[kGroupO].ld);
  arena_.add(last_residual, kind, last_rows * arch.H);
  arena_.add(nll, kind, capacity.targets);

  chunk = chunk_rows(arch, capacity.targets);
  arena_.add(gathered, kind, chunk * arch.H);
  arena_.add(gathered_delta, kind, chunk * arch.H);
  arena_.add(normed, kind, chunk * arch.H);
  arena_.add(rstd_final, kind, chunk);
  arena_.add(logits, Memory::workspace, chunk * arch.V);
  if (capacity.training) add_training(arch, groups);
}

void Activations::add_layer(LayerActivations& layer, const Architecture& arch,
                            const std::array<GroupShape, kGroups>& groups) {
  const int64_t T = capacity_.tokens;
  constexpr Memory kind = Memory::activations;
  arena_.add(layer.in, kind, T * groups[kGroupQkv].ld);
  arena_.add(layer.qkv, kind, T * arch.qkv_columns());
  arena_.add(layer.att, kind, T * groups[kGroupO].ld);
  if (capacity_.training) arena_.add(layer.mid, kind, T * arch.H);
  arena_.add(layer.mlp_in, kind, T * groups[kGroupGateUp].ld);
  arena_.add(layer.gate_up, kind, T * 2 * arch.F);
  arena_.add(layer.mlp, kind, T * groups[kGroupDown].ld);
  arena_.add(layer.rstd_in, kind, T);
  arena_.add(layer.rstd_mid, kind, T);
  arena_.add(layer.lse, kind, T * arch.Q);
  if (arch.config.qk_norm != 0) {
    arena_.add(layer.rstd_q, kind, T * arch.Q);
    arena_.add(layer.rstd_k, kind, T * arch.G);
  }
}

void Activations::add_training(const Architecture& arch,
                               const std::array<GroupShape, kGroups>& groups) {
  const int64_t T = capacity_.tokens;
  constexpr Memory kind = Memory::activations;
  arena_.add(dlogits, Memory::workspace, chunk * arch.V);
  arena_.add(dnormed, kind, chunk * arch.H);
  arena_.add(dgathered, kind, chunk * arch.H);
  arena_.add(dresidual, kind, T * arch.H);
  arena_.add(last_dresidual, kind, std::min(T, capacity_.targets) * arch.H);
  arena_.add(datt, kind, T * groups[kGroupO].ld);
  arena_.add(dx, kind, T * max_group_ld(groups));
  arena_.add(dqkv, kind, T * arch.qkv_columns());
  ops::AttentionShape shape{};
  shape.T = T;
  shape.P = T;
  shape.S = capacity_.sequences;
  shape.Q = arch.Q;
  shape.G = arch.G;
  shape.D = arch.D;
  shape.max_sequence = T;
  arena_.add(attention_workspace, Memory::workspace,
             static_cast<int64_t>(ops::attention_backward_workspace(shape)));
}

bool Activations::fits(const Batch& batch_) const {
  return batch_.T <= capacity_.tokens && batch_.S <= capacity_.sequences &&
         batch_.n <= capacity_.targets;
}

LayerActivations& Activations::slot(int64_t layer) {
  return slots_[static_cast<size_t>(std::max<int64_t>(0, layer - (layers_ - capacity_.slots)))];
}

act_t* Activations::residual(int64_t layer) const {
  return residuals_[capacity_.training ? static_cast<size_t>(layer) : 0];
}

act_t* Activations::mid(int64_t layer) {
  if (capacity_.training) return slot(layer).mid;
  return layer == layers_ - 1 ? last_residual : residuals_[0];
}

}  // namespace qlora
