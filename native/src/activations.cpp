#include "activations.h"

#include <algorithm>

namespace qlora {

namespace {

constexpr int64_t kLogitShare = 96;  // of memory: logits and their softmax
constexpr int64_t kMostLogitBytes = int64_t{1} << 30;
constexpr int64_t kLeastColumns = 256;
constexpr int64_t kMostColumns = 16384;

}  // namespace

int64_t choose_vocabulary(const Architecture& arch, int64_t targets, int64_t memory_bytes) {
  const int64_t bytes = std::min(kMostLogitBytes, memory_bytes / kLogitShare);
  int64_t column = targets * static_cast<int64_t>(sizeof(float) + sizeof(act_t));
  if (arch.head_on_host()) column += 2 * arch.H * static_cast<int64_t>(sizeof(act_t));
  const int64_t most = std::max(kLeastColumns, std::min(kMostColumns, bytes / column));
  if (most >= arch.V) return arch.V;
  const int64_t chunks = (arch.V + most - 1) / most;
  return padded((arch.V + chunks - 1) / chunks);
}

Activations::Activations(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                         const Capacity& capacity)
    : capacity_(capacity), layers_(arch.L) {
  const int64_t T = capacity.tokens;
  constexpr Memory kind = Memory::activations;
  residuals_.resize(capacity.training ? static_cast<size_t>(arch.L) : 1);
  for (act_t*& residual : residuals_) arena_.add(residual, kind, T * arch.H);
  slots_.resize(static_cast<size_t>(capacity.whole));
  for (LayerActivations& layer : slots_) add_layer(layer, arch, groups);
  products_.resize(static_cast<size_t>(capacity.kept - capacity.whole));
  for (LayerActivations& layer : products_) add_products(layer, arch);
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
  if (capacity.training) arena_.add(last_dresidual, kind, last_rows * arch.H);
  // The backward pass begins when the loss is done.
  arena_.begin_sharing();
  add_loss(arch);
  arena_.share_again();
  if (capacity.training) add_backward(arch, groups);
  arena_.end_sharing();
}

void Activations::allocate(Device& device, Budget& budget, const char* what) {
  arena_.allocate(device, budget, what);
  for (LayerActivations& layer : products_) {
    const LayerActivations own = layer;
    layer = slots_.front();
    layer.qkv = own.qkv;
    layer.mid = own.mid;
    layer.gate_up = own.gate_up;
    layer.rstd_q = own.rstd_q;
    layer.rstd_k = own.rstd_k;
  }
}

void Activations::add_layer(LayerActivations& layer, const Architecture& arch,
                            const std::array<GroupShape, kGroups>& groups) {
  const int64_t T = capacity_.tokens;
  constexpr Memory kind = Memory::activations;
  add_products(layer, arch);
  arena_.add(layer.in, kind, T * groups[kGroupQkv].ld);
  arena_.add(layer.att, kind, T * groups[kGroupO].ld);
  arena_.add(layer.mlp_in, kind, T * groups[kGroupGateUp].ld);
  arena_.add(layer.mlp, kind, T * groups[kGroupDown].ld);
  arena_.add(layer.rstd_in, kind, T);
  arena_.add(layer.rstd_mid, kind, T);
  arena_.add(layer.lse, kind, T * arch.Q);
}

void Activations::add_products(LayerActivations& layer, const Architecture& arch) {
  const int64_t T = capacity_.tokens;
  constexpr Memory kind = Memory::activations;
  arena_.add(layer.qkv, kind, T * arch.qkv_columns());
  if (capacity_.training) arena_.add(layer.mid, kind, T * arch.H);
  arena_.add(layer.gate_up, kind, T * 2 * arch.F);
  if (arch.config.qk_norm != 0) {
    arena_.add(layer.rstd_q, kind, T * arch.Q);
    arena_.add(layer.rstd_k, kind, T * arch.G);
  }
}

void Activations::add_loss(const Architecture& arch) {
  const int64_t n = capacity_.targets;
  const int64_t columns = capacity_.vocabulary;
  constexpr Memory kind = Memory::activations;
  arena_.add(gathered, kind, n * arch.H);
  arena_.add(gathered_delta, kind, n * arch.H);
  arena_.add(normed, kind, n * arch.H);
  arena_.add(rstd_final, kind, n);
  arena_.add(softmax, kind, n);
  arena_.add(logits, Memory::workspace, n * columns);
  if (arch.head_on_host()) {
    for (act_t*& rows : head_rows) arena_.add(rows, Memory::workspace, columns * arch.H);
  }
  if (!capacity_.training) return;
  arena_.add(expected, kind, n * arch.H);
  arena_.add(terms, Memory::workspace, n * columns);
}

void Activations::add_backward(const Architecture& arch,
                               const std::array<GroupShape, kGroups>& groups) {
  const int64_t T = capacity_.tokens;
  constexpr Memory kind = Memory::activations;
  arena_.add(dresidual, kind, T * arch.H);
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
  if (whole(layer)) return slots_[static_cast<size_t>(layer - (layers_ - capacity_.whole))];
  if (kept(layer)) return products_[static_cast<size_t>(layer - (layers_ - capacity_.kept))];
  return slots_.front();
}

act_t* Activations::residual(int64_t layer) const {
  return residuals_[capacity_.training ? static_cast<size_t>(layer) : 0];
}

act_t* Activations::mid(int64_t layer) {
  if (capacity_.training) return slot(layer).mid;
  return layer == layers_ - 1 ? last_residual : residuals_[0];
}

}  // namespace qlora
