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

struct Capacity {
  int64_t tokens = 0, sequences = 0, targets = 0;
  int64_t slots = 1;      // layers whose activations are kept; the last `slots` of the model
  bool training = false;  // with what the backward pass needs
};

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

  void allocate(Device& device, Budget& budget, const char* what) {
    arena_.allocate(device, budget, what);
  }
  MemoryTable table() const { return arena_.table(); }
  const Capacity& capacity() const { return capacity_; }
  bool fits(const Batch& batch) const;

  // The slot of a layer: its own for the last `slots` layers, the first one for those before.
  LayerActivations& slot(int64_t layer);
  // Whether a layer's activations survive until the backward pass.
  bool kept(int64_t layer) const { return layer >= layers_ - capacity_.slots; }
  // The residual entering a layer, and in its middle: updated in place unless training.
  act_t* residual(int64_t layer) const;
  act_t* mid(int64_t layer);

  DeviceBatch batch;
  act_t* delta = nullptr;  // [T, H] what the last product adds to the residual
  // The last layer's rows that go on.
  act_t* last_att = nullptr;       // [last rows, ld o]
  act_t* last_residual = nullptr;  // [last rows, H]
  // Loss, `chunk` target rows at a time.
  int64_t chunk = 0;
  act_t* gathered = nullptr;        // [chunk, H] the residual at the target rows
  act_t* gathered_delta = nullptr;  // [chunk, H]
  act_t* normed = nullptr;          // [chunk, H]
  float* rstd_final = nullptr;      // (chunk)
  float* logits = nullptr;          // [chunk, V]
  float* nll = nullptr;             // (targets)
  // Training only.
  act_t* dlogits = nullptr;         // [chunk, V]
  act_t* dnormed = nullptr;         // [chunk, H]
  act_t* dgathered = nullptr;       // [chunk, H]
  act_t* dresidual = nullptr;       // [T, H]
  act_t* last_dresidual = nullptr;  // [last rows, H]
  act_t* datt = nullptr;            // [T, ld o] of the last layer
  act_t* dx = nullptr;              // [T, widest ld] gradient of a product's input
  act_t* dqkv = nullptr;            // [T, (Q + 2G)·D]
  char* attention_workspace = nullptr;

 private:
  void add_layer(LayerActivations& layer, const Architecture& arch,
                 const std::array<GroupShape, kGroups>& groups);
  void add_training(const Architecture& arch, const std::array<GroupShape, kGroups>& groups);

  Capacity capacity_;
  int64_t layers_;
  Arena arena_;
  std::vector<act_t*> residuals_;
  std::vector<LayerActivations> slots_;
};

}  // namespace qlora
