// Training of the adapter: accumulated gradients, AdamW with clipping, the optimiser's state.
#pragma once

#include <memory>
#include <string>

#include "activations.h"
#include "arena.h"
#include "model.h"

namespace qlora {

// Gradients and moments, in the adapter's layout.
class OptimizerMemory {
 public:
  OptimizerMemory(const Architecture& arch, int64_t parameters);
  MemoryTable table() const;
  void allocate(Device& device, Budget& budget);

  float* gradients = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  double* square_sum = nullptr;  // (1)

 private:
  Arena arena_;
  Arena host_arena_{Arena::Place::host};
};

class Trainer {
 public:
  Trainer(std::shared_ptr<Model> model, const qlora_train_config& config);
  ~Trainer();

  // nll_host: (num_targets) or null.
  void accumulate(const qlora_batch* batch, float* nll_host, qlora_batch_result& result);
  void step(double learning_rate, qlora_step_result& result);
  void reset_gradients();
  void read_gradient(const std::string& name, float* values_host, int64_t count);

  int64_t state_bytes() const;
  void export_state(void* data_host, int64_t bytes);
  void import_state(const void* data_host, int64_t bytes);

  Model& model() { return *model_; }

 private:
  struct StateHeader;
  StateHeader state_header() const;
  void require_valid_gradients() const;
  void check_capacity(const Batch& batch) const;
  // Norm of the mean gradient.
  double gradient_norm();

  const std::shared_ptr<Model> model_;
  const qlora_train_config config_;
  Lora& lora_;
  OptimizerMemory memory_;
  std::unique_ptr<Activations> activations_;
  int64_t steps_ = 0;
  double nll_sum_ = 0;  // Σ weight · nll since the last step
  double weight_sum_ = 0;
  bool gradients_valid_ = true;
};

}  // namespace qlora
