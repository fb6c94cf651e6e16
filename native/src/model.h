// A model: frozen base, at most one adapter, the device they live on, and what their handles share.
#pragma once

#include <atomic>
#include <memory>

#include "activations.h"
#include "architecture.h"
#include "arena.h"
#include "lora.h"
#include "ops.h"
#include "tiles.h"
#include "weights.h"

namespace qlora {

class Model {
 public:
  explicit Model(const qlora_model_config& config);

  void load_tensor(const std::string& name, int dtype, const std::vector<int64_t>& shape,
                   const void* data_host, int64_t bytes);
  void load_random(uint64_t seed, double std);
  void finalize();
  void read_tensor(const std::string& name, float* values_host, int64_t count);
  void read_part(const std::string& name, void* data_host, int64_t bytes);

  void attach_lora(const qlora_lora_config& config);
  void detach_lora();
  void enable_lora(bool enabled);
  void read_lora(const std::string& name, float* values_host, int64_t count);
  void write_lora(const std::string& name, const float* values_host, int64_t count);

  // nll_host: (n) or null; logits_host: [n, V] or null.
  void evaluate(const qlora_batch* batch, float* nll_host, float* logits_host);

  // Brings tiles and adapter copies up to date; every computation begins with it.
  void prepare();
  // The adapter computations apply, or null.
  const Lora* active_lora() const { return lora_enabled_ ? lora_.get() : nullptr; }
  // Shapes with the attached adapter's ranks, also while it is disabled: sizes do not change then.
  const std::array<GroupShape, kGroups>& groups() const { return groups_; }
  // Throws Error(cancelled) when the caller's flag is set.
  void check_cancelled() const;
  void require_finalized() const;
  Lora& require_lora(const char* what) const;
  // After the adapter's master weights have changed.
  void lora_changed();
  // The buffers of a live trainer serve evaluation too. A model has at most one.
  void set_trainer(Activations* activations);
  // Of the trainer; null without one.
  const Capacity* training_capacity() const {
    return trainer_activations_ != nullptr ? &trainer_activations_->capacity() : nullptr;
  }
  bool has_trainer() const { return trainer_activations_ != nullptr; }

  const Architecture& arch() const { return arch_; }
  Device& device() const { return *device_; }
  Budget& budget() { return budget_; }
  // See whole_memory in plan.h.
  int64_t whole_memory() const { return whole_memory_; }
  const Weights& weights() const { return weights_; }
  const Tiles& tiles() const { return *tiles_; }
  // Names what the model computes, so that caches know when they are stale: another number after
  // every change of the adapter, the old one when it is toggled and toggled back.
  uint64_t version() const { return 2 * version_ + (lora_enabled_ ? 1 : 0); }
  bool tiles_resident() const { return tiles_ != nullptr && tiles_->resident(); }
  // Makes sure that ops can turn positions 0 … count − 1.
  void require_positions(int64_t count) { weights_.rope().require(count, *device_, budget_); }

  std::atomic<const int32_t*> cancel_flag{nullptr};
  std::atomic<bool> busy{false};

 private:
  void reset_groups();
  Activations& activations_for(const Batch& batch);

  const Architecture arch_;
  std::unique_ptr<Device> device_;
  Budget budget_;
  const int64_t whole_memory_;
  Weights weights_;
  std::unique_ptr<Lora> lora_;
  std::unique_ptr<Tiles> tiles_;
  std::unique_ptr<Activations> activations_;  // of evaluation, grown on demand
  Activations* trainer_activations_ = nullptr;
  std::array<GroupShape, kGroups> groups_;
  bool finalized_ = false;
  bool lora_enabled_ = true;
  bool lora_synced_ = false;
  uint64_t version_ = 0;
};

}  // namespace qlora
