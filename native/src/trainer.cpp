#include "trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backward.h"
#include "error.h"
#include "forward.h"
#include "loss.h"
#include "plan.h"

namespace qlora {

// First bytes of an exported state; the moments follow.
struct Trainer::StateHeader {
  char magic[8];
  uint32_t version;
  int32_t rank;
  int32_t target_modules;
  int32_t layers;
  int64_t parameters;
  int64_t steps;
};

OptimizerMemory::OptimizerMemory(const Architecture& arch, int64_t parameters) {
  arena_.add(gradients, Memory::optimizer, parameters);
  Arena& moments = arch.on_host(QLORA_HOST_OPTIMIZER) ? host_arena_ : arena_;
  moments.add(first_moment, Memory::optimizer, parameters);
  moments.add(second_moment, Memory::optimizer, parameters);
  arena_.add(square_sum, Memory::optimizer, 1);
}

MemoryTable OptimizerMemory::table() const {
  MemoryTable table = arena_.table();
  table += host_arena_.table();
  return table;
}

void OptimizerMemory::allocate(Device& device, Budget& budget) {
  arena_.allocate(device, budget, "gradients and optimiser moments");
  host_arena_.allocate(device, budget, "optimiser moments in host memory");
}

Trainer::Trainer(std::shared_ptr<Model> model, const qlora_train_config& config)
    : model_(std::move(model)),
      config_(config),
      lora_(model_->require_lora("training")),
      memory_(model_->arch(), lora_.count()) {
  check_train_config(config_);
  if (model_->has_trainer()) {
    throw Error(QLORA_ERROR_STATE, "this model has a trainer already; destroy it first");
  }
  model_->set_trainer(nullptr);  // frees evaluation's buffers: the trainer's serve it
  model_->prepare();
  Device& device = model_->device();
  memory_.allocate(device, model_->budget());
  const size_t bytes = static_cast<size_t>(lora_.count()) * sizeof(float);
  device.fill_zero(memory_.gradients, bytes);
  device.fill_zero(memory_.first_moment, bytes);
  device.fill_zero(memory_.second_moment, bytes);
  model_->require_positions(positions_of(model_->arch(), config_));
  const int64_t spare = spare_bytes(model_->budget(), device.memory());
  activations_ = std::make_unique<Activations>(
      model_->arch(), model_->groups(),
      choose_capacity(model_->arch(), model_->groups(), config_, spare, model_->whole_memory()));
  activations_->allocate(device, model_->budget(), "training activations (max_tokens, recompute)");
  device.synchronize();
  model_->set_trainer(activations_.get());
}

Trainer::~Trainer() {
  if (activations_ != nullptr) model_->set_trainer(nullptr);
}

void Trainer::require_valid_gradients() const {
  if (gradients_valid_) return;
  throw Error(QLORA_ERROR_STATE,
              "the gradients are incomplete since a call to accumulate was cancelled or failed; "
              "call qlora_trainer_reset_gradients first");
}

void Trainer::check_capacity(const Batch& batch) const {
  const auto check = [](const char* field, int64_t found, int64_t capacity) {
    if (found <= capacity) return;
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, std::string("batch: num_") + field +
                                                  " must be at most " + std::to_string(capacity) +
                                                  " (the trainer's max_" + field + "), found " +
                                                  std::to_string(found));
  };
  check("tokens", batch.T, config_.max_tokens);
  check("sequences", batch.S, config_.max_sequences);
  check("targets", batch.n, config_.max_targets);
}

void Trainer::accumulate(const qlora_batch* qlora_batch, float* nll_host,
                         qlora_batch_result& result) {
  if (model_->active_lora() == nullptr) {
    throw Error(QLORA_ERROR_STATE, "the adapter is disabled; enable it before training");
  }
  require_valid_gradients();
  const Batch batch = read_batch(qlora_batch, model_->arch());
  check_capacity(batch);
  model_->prepare();
  Device& device = model_->device();
  gradients_valid_ = false;
  upload_batch(activations_->batch, batch, device);
  Dropout dropout;
  dropout.seed = config_.dropout_seed;
  dropout.step = static_cast<uint32_t>(steps_);
  dropout.probability = static_cast<float>(lora_.config().dropout);
  Pass pass{*model_, *activations_, batch, &dropout};
  forward(pass);
  loss_forward_backward(pass);
  backward(pass, memory_.gradients);

  std::vector<float> nll(static_cast<size_t>(batch.n));
  device.copy_to_host(nll.data(), activations_->nll, nll.size() * sizeof(float));
  double nll_sum = 0;
  for (size_t i = 0; i < nll.size(); ++i) {
    nll_sum += static_cast<double>(batch.target_weights[i]) * static_cast<double>(nll[i]);
  }
  nll_sum_ += nll_sum;
  weight_sum_ += batch.weight_sum;
  gradients_valid_ = true;
  if (nll_host != nullptr) std::memcpy(nll_host, nll.data(), nll.size() * sizeof(float));
  result.num_targets = static_cast<int32_t>(batch.n);
  result.nll_sum = nll_sum;
  result.weight_sum = batch.weight_sum;
}

double Trainer::gradient_norm() {
  double square_sum = 0;
  ops::sum_squares(memory_.square_sum, memory_.gradients, lora_.count(), model_->device());
  model_->device().copy_to_host(&square_sum, memory_.square_sum, sizeof square_sum);
  return std::sqrt(square_sum) / weight_sum_;
}

void Trainer::step(double learning_rate, qlora_step_result& result) {
  require_valid_gradients();
  if (!(learning_rate >= 0) || !std::isfinite(learning_rate)) {
    throw Error(
        QLORA_ERROR_INVALID_ARGUMENT,
        "learning_rate must be 0 or a positive number, found " + std::to_string(learning_rate));
  }
  if (!(weight_sum_ > 0)) {
    throw Error(QLORA_ERROR_STATE,
                "no target weighs anything since the last step; accumulate a micro-batch first");
  }
  const double loss = nll_sum_ / weight_sum_;
  const double norm = gradient_norm();
  if (!std::isfinite(loss) || !std::isfinite(norm)) {
    reset_gradients();
    throw Error(QLORA_ERROR_NOT_FINITE,
                "loss " + std::to_string(loss) + ", gradient norm " + std::to_string(norm) +
                    ": not finite; nothing was changed, the gradients are cleared. Lower the "
                    "learning rate or look at the batch's data");
  }
  // As torch.nn.utils.clip_grad_norm_.
  double clip = 1;
  if (config_.max_grad_norm > 0) clip = std::min(1.0, config_.max_grad_norm / (norm + 1e-6));
  ops::AdamW options{};
  options.learning_rate = learning_rate;
  options.beta1 = config_.beta1;
  options.beta2 = config_.beta2;
  options.epsilon = config_.epsilon;
  options.weight_decay = config_.weight_decay;
  options.step = steps_ + 1;
  options.grad_scale = static_cast<float>(clip / weight_sum_);
  ops::adamw(lora_.parameters(), memory_.first_moment, memory_.second_moment, memory_.gradients,
             lora_.count(), options, model_->device());
  ++steps_;
  model_->lora_changed();
  result.clipped = config_.max_grad_norm > 0 && norm > config_.max_grad_norm ? 1 : 0;
  result.step = steps_;
  result.loss = loss;
  result.weight_sum = weight_sum_;
  result.grad_norm = norm;
  reset_gradients();
}

void Trainer::reset_gradients() {
  model_->device().fill_zero(memory_.gradients, static_cast<size_t>(lora_.count()) * sizeof(float));
  model_->device().synchronize();
  nll_sum_ = 0;
  weight_sum_ = 0;
  gradients_valid_ = true;
}

void Trainer::read_gradient(const std::string& name, float* values_host, int64_t count) {
  require_valid_gradients();
  lora_.read_from(memory_.gradients, name, values_host, count, model_->device());
}

Trainer::StateHeader Trainer::state_header() const {
  StateHeader header{};
  std::memcpy(header.magic, "QLORAOPT", sizeof header.magic);
  header.version = 1;
  header.rank = lora_.config().rank;
  header.target_modules = lora_.config().target_modules;
  header.layers = static_cast<int32_t>(model_->arch().L);
  header.parameters = lora_.count();
  header.steps = steps_;
  return header;
}

int64_t Trainer::state_bytes() const {
  return static_cast<int64_t>(sizeof(StateHeader)) +
         2 * lora_.count() * static_cast<int64_t>(sizeof(float));
}

void Trainer::export_state(void* data_host, int64_t bytes) {
  if (bytes != state_bytes()) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "the optimiser state takes " + std::to_string(state_bytes()) +
                    " bytes, found room for " + std::to_string(bytes));
  }
  const StateHeader header = state_header();
  const size_t moment = static_cast<size_t>(lora_.count()) * sizeof(float);
  char* out = static_cast<char*>(data_host);
  std::memcpy(out, &header, sizeof header);
  model_->device().copy_to_host(out + sizeof header, memory_.first_moment, moment);
  model_->device().copy_to_host(out + sizeof header + moment, memory_.second_moment, moment);
}

void Trainer::import_state(const void* data_host, int64_t bytes) {
  StateHeader expected = state_header();
  StateHeader found{};
  const char* in = static_cast<const char*>(data_host);
  if (bytes >= static_cast<int64_t>(sizeof found)) std::memcpy(&found, in, sizeof found);
  expected.steps = found.steps;
  if (bytes != state_bytes() || std::memcmp(&expected, &found, sizeof found) != 0 ||
      found.steps < 0) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "the optimiser state is not one of this run: expected version 1, rank " +
                    std::to_string(expected.rank) + ", " + std::to_string(expected.layers) +
                    " layers, " + std::to_string(expected.parameters) + " parameters in " +
                    std::to_string(state_bytes()) + " bytes, found version " +
                    std::to_string(found.version) + ", rank " + std::to_string(found.rank) + ", " +
                    std::to_string(found.layers) + " layers, " + std::to_string(found.parameters) +
                    " parameters in " + std::to_string(bytes) +
                    " bytes; start afresh or use the adapter's own state");
  }
  const size_t moment = static_cast<size_t>(lora_.count()) * sizeof(float);
  model_->device().copy_to_device(memory_.first_moment, in + sizeof found, moment);
  model_->device().copy_to_device(memory_.second_moment, in + sizeof found + moment, moment);
  steps_ = found.steps;
  reset_gradients();
}

}  // namespace qlora
