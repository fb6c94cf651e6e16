#include "model.h"

#include <algorithm>

#include "error.h"
#include "forward.h"
#include "loss.h"
#include "plan.h"

namespace qlora {

namespace {

DeviceOptions device_options(const qlora_model_config& config) {
  DeviceOptions options;
  options.ordinal = config.device;
  options.threads = config.threads;
  return options;
}

}  // namespace

Model::Model(const qlora_model_config& config)
    : arch_(config),
      device_(Device::create(device_options(config))),
      budget_(config.memory_budget),
      whole_memory_(qlora::whole_memory(budget_, device_->memory())),
      weights_(arch_),
      groups_(make_groups(arch_, 0, 0)) {
  weights_.allocate(*device_, budget_);
}

void Model::load_tensor(const std::string& name, int dtype, const std::vector<int64_t>& shape,
                        const void* data_host, int64_t bytes) {
  if (finalized_) {
    throw Error(QLORA_ERROR_STATE,
                "the model is finalized; create a new one to load other weights");
  }
  weights_.load(name, dtype, shape, data_host, bytes, *device_);
}

void Model::load_random(uint64_t seed, double std) {
  if (finalized_) {
    throw Error(QLORA_ERROR_STATE,
                "the model is finalized; create a new one to load other weights");
  }
  weights_.load_random(seed, std, *device_);
}

void Model::finalize() {
  if (finalized_) return;
  weights_.finalize();
  finalized_ = true;
}

void Model::require_finalized() const {
  if (!finalized_) {
    throw Error(QLORA_ERROR_STATE,
                "the model's weights are not complete: load every tensor, then call "
                "qlora_model_finalize");
  }
}

void Model::read_tensor(const std::string& name, float* values_host, int64_t count) {
  require_finalized();
  weights_.read(name, values_host, count, *device_);
}

void Model::read_part(const std::string& name, void* data_host, int64_t bytes) {
  require_finalized();
  weights_.read_part(name, data_host, bytes, *device_);
}

Lora& Model::require_lora(const char* what) const {
  if (lora_ == nullptr) {
    throw Error(QLORA_ERROR_STATE,
                std::string(what) + " needs an adapter: call qlora_model_attach_lora first");
  }
  return *lora_;
}

void Model::attach_lora(const qlora_lora_config& config) {
  require_finalized();
  if (has_trainer()) {
    throw Error(QLORA_ERROR_STATE,
                "a trainer uses the adapter: destroy it before attaching another");
  }
  auto lora = std::make_unique<Lora>(arch_, config);
  detach_lora();
  lora->allocate(*device_, budget_);
  lora->initialize(*device_);
  lora_ = std::move(lora);
  reset_groups();
}

void Model::detach_lora() {
  if (has_trainer()) {
    throw Error(QLORA_ERROR_STATE, "a trainer uses the adapter: destroy it before detaching");
  }
  lora_.reset();
  lora_enabled_ = true;
  reset_groups();
}

void Model::enable_lora(bool enabled) {
  require_lora("enabling or disabling the adapter");
  lora_enabled_ = enabled;
}

// After attaching or detaching: sizes have changed, so buffers are made anew when next needed.
void Model::reset_groups() {
  groups_ = lora_ != nullptr ? lora_->groups() : make_groups(arch_, 0, 0);
  tiles_.reset();
  activations_.reset();
  lora_changed();
}

void Model::lora_changed() {
  lora_synced_ = false;
  ++version_;
}

void Model::read_lora(const std::string& name, float* values_host, int64_t count) {
  require_lora("reading adapter tensors").read(name, values_host, count, *device_);
}

void Model::write_lora(const std::string& name, const float* values_host, int64_t count) {
  require_lora("writing adapter tensors").write(name, values_host, count, *device_);
  lora_changed();
}

void Model::prepare() {
  require_finalized();
  if (tiles_ == nullptr) {
    auto tiles = std::make_unique<Tiles>(arch_, groups_, whole_memory_);
    tiles->allocate(weights_, lora_.get(), *device_, budget_);
    tiles_ = std::move(tiles);
  } else if (!lora_synced_ && lora_ != nullptr) {
    tiles_->update_lora(*lora_, *device_);
  }
  if (!lora_synced_ && lora_ != nullptr) lora_->sync(*device_);
  lora_synced_ = true;
}

void Model::check_cancelled() const {
  const int32_t* flag = cancel_flag.load(std::memory_order_relaxed);
  if (flag == nullptr || *static_cast<const volatile int32_t*>(flag) == 0) return;
  throw Error(QLORA_ERROR_CANCELLED, "cancelled by the caller's flag");
}

void Model::set_trainer(Activations* activations) {
  trainer_activations_ = activations;
  activations_.reset();
}

Activations& Model::activations_for(const Batch& batch) {
  if (trainer_activations_ != nullptr && trainer_activations_->fits(batch)) {
    return *trainer_activations_;
  }
  if (activations_ == nullptr || !activations_->fits(batch)) {
    Capacity capacity;
    capacity.tokens = batch.T;
    capacity.sequences = batch.S;
    capacity.targets = batch.n;
    if (activations_ != nullptr) {
      const Capacity& old = activations_->capacity();
      capacity.tokens = std::max(capacity.tokens, old.tokens);
      capacity.sequences = std::max(capacity.sequences, old.sequences);
      capacity.targets = std::max(capacity.targets, old.targets);
    }
    capacity.vocabulary = choose_vocabulary(arch_, capacity.targets, whole_memory_);
    activations_.reset();
    auto activations = std::make_unique<Activations>(arch_, groups_, capacity);
    activations->allocate(*device_, budget_, "evaluating a batch of this size");
    activations_ = std::move(activations);
  }
  return *activations_;
}

void Model::evaluate(const qlora_batch* qlora_batch, float* nll_host, float* logits_host) {
  require_finalized();
  const Batch batch = read_batch(qlora_batch, arch_);
  prepare();
  require_positions(batch.num_positions());
  Activations& activations = activations_for(batch);
  upload_batch(activations.batch, batch, *device_);
  Pass pass{*this, activations, batch, nullptr};
  forward(pass);
  if (logits_host != nullptr) {
    read_logits(pass, logits_host);
  } else {
    loss_forward(pass);
    device_->copy_to_host(nll_host, activations.nll, static_cast<size_t>(batch.n) * sizeof(float));
  }
}

}  // namespace qlora
