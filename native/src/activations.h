// The tensors of one forward (and backward) pass over a packed micro-batch, sized for a capacity.
//
// A layer, with X[i] the residual that enters it:
//   in = rmsnorm(X[i]);          qkv = rope([in | U]·[W | sB]ᵀ);   att = attention(qkv)
//   mid = X[i] + [att | U]·…ᵀ;   mlp_in = rmsnorm(mid);            gate_up = [mlp_in | U]·…ᵀ
//   mlp = silu(gate)·up;         X[i + 1] = mid + [mlp | U]·…ᵀ
// Inputs of products carry U = drop(X)·Aᵀ in their last columns: rows groups[g].ld apart.
// Behind the last layer's attention only the rows that targets read go on.
#pragma once

#include <vector>

#include "architecture.h"
#include "arena.h"
#include "batch.h"
#include "ops.h"

namespace qlora {

// Of each layer the trainer keeps between forward and backward pass, by what memory allows:
//   all of it: the last `whole` layers
//   the products (qkv, gate_up, and mid, which is o's): the last `kept` layers. What lies between
//     (norms, attention, SwiGLU, U) is computed again: .6 of the bytes for most of the time.
//   its residual only: the others.
struct Capacity {
  int64_t tokens = 0, sequences = 0, targets = 0;
  int64_t vocabulary = 0;  // columns of logits at a time
  int64_t kept = 1;
  int64_t whole = 1;      // at least 1, at most kept
  bool training = false;  // with what the backward pass needs
};

// Columns of logits at a time: their bytes are a share of memory_bytes (of the device, or the
// budget).
int64_t choose_vocabulary(const Architecture& arch, int64_t targets, int64_t memory_bytes);

// One layer's activations. T rows each.
struct LayerActivations {
  act_t* in = nullptr;        // [T, ld qkv]
  act_t* qkv = nullptr;       // [T, (Q + 2G)·D], after rope
  act_t* att = nullptr;       // [T, ld o]
  act_t* mid = nullptr;       // [T, H]; not used without training
  act_t* mlp_in = nullptr;    // [T, ld gate_up]
  act_t* gate_up = nullptr;   // [T, 2F]
  act_t* mlp = nullptr;       // [T, ld down]
  float* rstd_in = nullptr;   // (T)
  float* rstd_mid = nullptr;  // (T)
  float* lse = nullptr;       // [Q, T]
  float* rstd_q = nullptr;    // (T, Q) with qk_norm
  float* rstd_k = nullptr;    // (T, G) with qk_norm
};

class Activations {
 public:
  // Sizes only; nothing is allocated.
  Activations(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
              const Capacity& capacity);

  void allocate(Device& device, Budget& budget, const char* what);
  MemoryTable table() const { return arena_.table(); }
  const Capacity& capacity() const { return capacity_; }
  bool fits(const Batch& batch) const;

  // Where a layer's activations are. Layers that are not wholly kept share the first slot for what
  // they do not keep.
  LayerActivations& slot(int64_t layer);
  // What of a layer survives until the backward pass.
  bool whole(int64_t layer) const { return layer >= layers_ - capacity_.whole; }
  bool kept(int64_t layer) const { return layer >= layers_ - capacity_.kept; }
  // The residual entering a layer, and in its middle: updated in place unless training.
  act_t* residual(int64_t layer) const;
  act_t* mid(int64_t layer);

  DeviceBatch batch;
  act_t* delta = nullptr;  // [T, H] what the last product adds to the residual
  // The last layer's rows that go on.
  act_t* last_att = nullptr;       // [last rows, ld o]
  act_t* last_residual = nullptr;  // [last rows, H]
  float* nll = nullptr;            // (targets)
  // Loss, a chunk of the vocabulary at a time.
  act_t* gathered = nullptr;        // [targets, H] the residual at the target rows
  act_t* gathered_delta = nullptr;  // [targets, H], then the gradient of gathered
  act_t* normed = nullptr;          // [targets, H], then its gradient
  float* expected = nullptr;        // [targets, H] training only
  float* rstd_final = nullptr;      // (targets)
  ops::SoftmaxState* softmax = nullptr;
  float* logits = nullptr;                   // [targets, vocabulary]
  act_t* terms = nullptr;                    // [targets, vocabulary] training only
  act_t* head_rows[2] = {nullptr, nullptr};  // [vocabulary, H] where the head is in host memory
  // Training only.
  act_t* last_dresidual = nullptr;  // [last rows, H]
  act_t* dresidual = nullptr;       // [T, H]
  act_t* datt = nullptr;            // [T, ld o] of the last layer
  act_t* dx = nullptr;              // [T, widest ld] gradient of a product's input
  act_t* dqkv = nullptr;            // [T, (Q + 2G)·D]
  char* attention_workspace = nullptr;

 private:
  void add_layer(LayerActivations& layer, const Architecture& arch,
                 const std::array<GroupShape, kGroups>& groups);
  void add_products(LayerActivations& layer, const Architecture& arch);
  void add_loss(const Architecture& arch);
  void add_backward(const Architecture& arch, const std::array<GroupShape, kGroups>& groups);

  Capacity capacity_;
  int64_t layers_;
  Arena arena_;
  std::vector<act_t*> residuals_;
  std::vector<LayerActivations> slots_;     // of the layers kept whole
  std::vector<LayerActivations> products_;  // of the layers of which only the products are kept
};

}  // namespace qlora
