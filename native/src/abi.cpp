// The C ABI over the classes: one guard around every entry, arguments checked, results written
// last.
#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "checksum.h"
#include "error.h"
#include "generator.h"
#include "model.h"
#include "plan.h"
#include "rates.h"
#include "trainer.h"
#include "widen.h"

using qlora::Error;

// A handle's message is written by its own calls only. Trainers and generators keep their model
// alive.
struct qlora_model {
  std::shared_ptr<qlora::Model> model;
  std::string message;
};

struct qlora_trainer {
  std::unique_ptr<qlora::Trainer> trainer;
  std::string message;
};

struct qlora_generator {
  std::unique_ptr<qlora::Generator> generator;
  std::string message;
};

namespace {

// Runs body; turns whatever it throws into a status, and hands its text to report.
template <class Body, class Report>
qlora_status guarded(Body&& body, Report&& report) noexcept {
  qlora_status status = QLORA_ERROR_INTERNAL;
  try {
    try {
      body();
      return QLORA_OK;
    } catch (const Error& error) {
      status = error.status();
      report(error.what());
    } catch (const std::bad_alloc&) {
      status = QLORA_ERROR_OUT_OF_MEMORY;
      report("the host is out of memory; free some, or choose smaller sizes");
    } catch (const std::exception& error) {
      report(error.what());
    } catch (...) {
      report("an unknown exception reached the library's boundary");
    }
  } catch (...) {
    // Not even the message could be stored; the status still tells.
  }
  return status;
}

// Marks the model as running a call; one at a time.
class Running {
 public:
  explicit Running(qlora::Model& model) : model_(model), held_(!model.busy.exchange(true)) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    if (held_) model_.busy.store(false);
  }
  bool held() const { return held_; }

 private:
  qlora::Model& model_;
  const bool held_;
};

// A call on a handle of `model`: refused while another runs, on the model's device, guarded.
template <class Body>
qlora_status call(qlora::Model& model, std::string& message, Body&& body) noexcept {
  const Running running(model);
  if (!running.held()) return QLORA_ERROR_BUSY;
  return guarded(
      [&] {
        message.clear();
        model.device().make_current();
        body();
      },
      [&](const char* text) { message = text; });
}

// A call without a handle to keep its message: the text goes into the caller's buffer.
template <class Body>
qlora_status call_into(char* error, int64_t capacity, Body&& body) noexcept {
  return guarded(body, [&](const char* text) {
    if (error == nullptr || capacity < 1) return;
    size_t length = std::min(std::strlen(text), static_cast<size_t>(capacity - 1));
    // Not in the middle of a UTF-8 character.
    while (length > 0 && length < std::strlen(text) &&
           (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) {
      --length;
    }
    std::memcpy(error, text, length);
    error[length] = '\0';
  });
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, std::string(name) + " must not be NULL");
  }
}

// Copies a config after checking its size.
template <class Config>
Config read_config(const Config* config, const char* name) {
  require(config, name);
  qlora::check_struct_size(name, config->struct_size, sizeof(Config));
  return *config;
}

// Checks a result struct before the work begins.
template <class Result>
void check_result(const Result* result, const char* name) {
  require(result, name);
  qlora::check_struct_size(name, result->struct_size, sizeof(Result));
}

void check_count(int64_t count, const char* name) {
  if (count >= 0) return;
  throw Error(QLORA_ERROR_INVALID_ARGUMENT,
              std::string(name) + " must be at least 0, found " + std::to_string(count));
}

}  // namespace

// ---- The library ----------------------------------------------------------------------------

int32_t qlora_abi_version(void) { return QLORA_ABI_VERSION; }

qlora_status qlora_library_describe(char* buffer, int64_t capacity, int64_t* out_length) {
  const auto write = [&](const std::string& text) {
    if (buffer != nullptr && capacity > 0) {
      const size_t length = std::min(text.size(), static_cast<size_t>(capacity - 1));
      std::memcpy(buffer, text.data(), length);
      buffer[length] = '\0';
    }
    if (out_length != nullptr) *out_length = static_cast<int64_t>(text.size());
  };
  return guarded([&] { write(qlora::Device::describe()); },
                 [&](const char* text) {
                   std::string escaped;
                   for (const char* c = text; *c != '\0'; ++c) {
                     if (*c == '"' || *c == '\\') escaped += '\\';
                     escaped += static_cast<unsigned char>(*c) < 0x20 ? ' ' : *c;
                   }
                   write("{\"error\":\"" + escaped + "\"}");
                 });
}

qlora_status qlora_device_measure(int32_t device, int32_t threads, qlora_device_rates* rates,
                                  char* error, int64_t error_capacity) {
  return call_into(error, error_capacity, [&] {
    check_result(rates, "qlora_device_rates");
    qlora::DeviceOptions options;
    options.ordinal = device;
    options.threads = threads;
    const std::unique_ptr<qlora::Device> measured = qlora::Device::create(options);
    const qlora::DeviceRates found = qlora::measure_rates(*measured);
    rates->product_size = static_cast<int32_t>(found.product_size);
    rates->product_flops = found.product_flops;
    rates->copy_bytes = found.copy_bytes;
    rates->upload_bytes = found.upload_bytes;
    rates->sustained_product_flops = found.sustained_product_flops;
  });
}

namespace {

template <class Struct>
constexpr int32_t size_of() {
  return static_cast<int32_t>(sizeof(Struct));
}

}  // namespace

int32_t qlora_sizeof_device_rates(void) { return size_of<qlora_device_rates>(); }
int32_t qlora_sizeof_model_config(void) { return size_of<qlora_model_config>(); }
int32_t qlora_sizeof_lora_config(void) { return size_of<qlora_lora_config>(); }
int32_t qlora_sizeof_train_config(void) { return size_of<qlora_train_config>(); }
int32_t qlora_sizeof_batch(void) { return size_of<qlora_batch>(); }
int32_t qlora_sizeof_batch_result(void) { return size_of<qlora_batch_result>(); }
int32_t qlora_sizeof_step_result(void) { return size_of<qlora_step_result>(); }
int32_t qlora_sizeof_memory_report(void) { return size_of<qlora_memory_report>(); }
int32_t qlora_sizeof_generator_config(void) { return size_of<qlora_generator_config>(); }
int32_t qlora_sizeof_sampling(void) { return size_of<qlora_sampling>(); }
int32_t qlora_sizeof_generated_token(void) { return size_of<qlora_generated_token>(); }

// ---- NF4 on plain arrays --------------------------------------------------------------------

namespace {

// Device copies of a call's arrays, freed at its end.
class Scratch {
 public:
  Scratch() : device_(qlora::Device::create(options())) {}
  ~Scratch() {
    for (void* pointer : pointers_) device_->release(pointer);
  }
  template <class T>
  T* make(int64_t count) {
    void* pointer = device_->allocate(static_cast<size_t>(count) * sizeof(T));
    pointers_.push_back(pointer);
    return static_cast<T*>(pointer);
  }
  template <class T>
  T* upload(const T* host, int64_t count) {
    T* pointer = make<T>(count);
    device_->copy_to_device(pointer, host, static_cast<size_t>(count) * sizeof(T));
    return pointer;
  }
  template <class T>
  void download(T* host, const T* pointer, int64_t count) {
    device_->copy_to_host(host, pointer, static_cast<size_t>(count) * sizeof(T));
  }
  qlora::Device& device() { return *device_; }

 private:
  static qlora::DeviceOptions options() {
    qlora::DeviceOptions options;
    options.threads = 1;
    return options;
  }
  std::unique_ptr<qlora::Device> device_;
  std::vector<void*> pointers_;
};

int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

void require_positive(int64_t count) {
  if (count < 1) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "the count must be at least 1, found " + std::to_string(count));
  }
}

qlora_status without_handle(const std::function<void()>& body) noexcept {
  return guarded(body, [](const char*) {});
}

}  // namespace

qlora_status qlora_checksum(const void* data, int64_t bytes, uint64_t* out) {
  return without_handle([&] {
    check_count(bytes, "bytes");
    if (bytes > 0) require(data, "data");
    require(out, "out");
    *out = qlora::checksum(data, bytes);
  });
}

qlora_status qlora_nf4_quantize(const float* values, int64_t n, uint8_t* packed, float* absmax) {
  return without_handle([&] {
    require(values, "values");
    require(packed, "packed");
    require(absmax, "absmax");
    require_positive(n);
    Scratch scratch;
    const float* source = scratch.upload(values, n);
    uint8_t* bytes = scratch.make<uint8_t>((n + 1) / 2);
    float* scales = scratch.make<float>(blocks_of(n, 64));
    qlora::ops::nf4_quantize(bytes, scales, source, n, scratch.device());
    scratch.download(packed, bytes, (n + 1) / 2);
    scratch.download(absmax, scales, blocks_of(n, 64));
  });
}

qlora_status qlora_nf4_dequantize(const uint8_t* packed, const float* absmax, int64_t n,
                                  float* values) {
  return without_handle([&] {
    require(packed, "packed");
    require(absmax, "absmax");
    require(values, "values");
    require_positive(n);
    Scratch scratch;
    qlora::ops::Weight w;
    w.out = 1;
    w.in = n;
    w.packed = scratch.upload(packed, (n + 1) / 2);
    w.absmax = scratch.upload(absmax, blocks_of(n, 64));
    qlora::act_t* result = scratch.make<qlora::act_t>(n);
    qlora::ops::dequantize(result, n, w, 0, 1, 0, n, scratch.device());
    std::vector<qlora::act_t> host(static_cast<size_t>(n));
    scratch.download(host.data(), result, n);
    qlora::widen(values, host.data(), n);
  });
}

qlora_status qlora_absmax_quantize(const float* absmax, int64_t count, uint8_t* codes,
                                   float* absmax2, float* offset) {
  return without_handle([&] {
    require(absmax, "absmax");
    require(codes, "codes");
    require(absmax2, "absmax2");
    require(offset, "offset");
    require_positive(count);
    Scratch scratch;
    const float* source = scratch.upload(absmax, count);
    uint8_t* bytes = scratch.make<uint8_t>(count);
    float* scales = scratch.make<float>(blocks_of(count, 256));
    float mean = 0;
    qlora::ops::absmax_quantize(bytes, scales, &mean, source, count, scratch.device());
    scratch.download(codes, bytes, count);
    scratch.download(absmax2, scales, blocks_of(count, 256));
    *offset = mean;
  });
}

qlora_status qlora_absmax_dequantize(const uint8_t* codes, const float* absmax2, float offset,
                                     int64_t count, float* absmax) {
  return without_handle([&] {
    require(codes, "codes");
    require(absmax2, "absmax2");
    require(absmax, "absmax");
    require_positive(count);
    Scratch scratch;
    float* result = scratch.make<float>(count);
    qlora::ops::absmax_dequantize(result, scratch.upload(codes, count),
                                  scratch.upload(absmax2, blocks_of(count, 256)), offset, count,
                                  scratch.device());
    scratch.download(absmax, result, count);
  });
}

// ---- Model ----------------------------------------------------------------------------------

void qlora_model_config_default(qlora_model_config* config) {
  if (config == nullptr) return;
  qlora_model_config c{};
  c.struct_size = sizeof c;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.num_layers = 32;
  c.num_heads = 32;
  c.num_kv_heads = 8;
  c.head_dim = 128;
  c.vocab_size = 128256;
  c.max_position = 8192;
  c.rope_scaling = QLORA_ROPE_LLAMA3;
  c.rope_theta = 500000;
  c.rope_factor = 8;
  c.rope_low_freq_factor = 1;
  c.rope_high_freq_factor = 4;
  c.rope_original_max_position = 8192;
  c.rms_norm_eps = 1e-5;
  c.quantization = QLORA_QUANTIZATION_NF4_DOUBLE;
  *config = c;
}

qlora_status qlora_model_create(const qlora_model_config* config, qlora_model** out, char* error,
                                int64_t error_capacity) {
  return call_into(error, error_capacity, [&] {
    require(out, "out");
    const qlora_model_config c = read_config(config, "qlora_model_config");
    auto handle = std::make_unique<qlora_model>();
    handle->model = std::make_shared<qlora::Model>(c);
    *out = handle.release();
  });
}

void qlora_model_destroy(qlora_model* model) { delete model; }

const char* qlora_model_error(const qlora_model* model) {
  return model == nullptr ? "model must not be NULL" : model->message.c_str();
}

qlora_status qlora_model_set_cancel_flag(qlora_model* model, const int32_t* flag) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] { model->model->cancel_flag.store(flag); });
}

qlora_status qlora_model_load_tensor(qlora_model* model, const char* name, int32_t dtype,
                                     const int64_t* shape, int32_t num_dims, const void* data,
                                     int64_t bytes) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(name, "name");
    require(data, "data");
    check_count(num_dims, "num_dims");
    check_count(bytes, "bytes");
    if (num_dims > 0) require(shape, "shape");
    std::vector<int64_t> dims(shape, shape + num_dims);
    for (const int64_t size : dims) check_count(size, "shape");
    model->model->load_tensor(name, dtype, dims, data, bytes);
  });
}

qlora_status qlora_model_finalize(qlora_model* model) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] { model->model->finalize(); });
}

qlora_status qlora_model_load_random(qlora_model* model, uint64_t seed, double std) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] { model->model->load_random(seed, std); });
}

qlora_status qlora_model_read_tensor(qlora_model* model, const char* name, float* values,
                                     int64_t count) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(name, "name");
    require(values, "values");
    model->model->read_tensor(name, values, count);
  });
}

qlora_status qlora_model_read_part(qlora_model* model, const char* name, void* data,
                                   int64_t bytes) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(name, "name");
    require(data, "data");
    model->model->read_part(name, data, bytes);
  });
}

// ---- LoRA -----------------------------------------------------------------------------------

void qlora_lora_config_default(qlora_lora_config* config) {
  if (config == nullptr) return;
  qlora_lora_config c{};
  c.struct_size = sizeof c;
  c.rank = 16;
  c.alpha = 32;
  c.dropout = 0.05;
  c.target_modules = (1 << qlora::kModules) - 1;
  *config = c;
}

qlora_status qlora_model_attach_lora(qlora_model* model, const qlora_lora_config* config) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message,
              [&] { model->model->attach_lora(read_config(config, "qlora_lora_config")); });
}

qlora_status qlora_model_detach_lora(qlora_model* model) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] { model->model->detach_lora(); });
}

qlora_status qlora_model_enable_lora(qlora_model* model, int32_t enabled) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] { model->model->enable_lora(enabled != 0); });
}

qlora_status qlora_model_read_lora(qlora_model* model, const char* name, float* values,
                                   int64_t count) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(name, "name");
    require(values, "values");
    model->model->read_lora(name, values, count);
  });
}

qlora_status qlora_model_write_lora(qlora_model* model, const char* name, const float* values,
                                    int64_t count) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(name, "name");
    require(values, "values");
    model->model->write_lora(name, values, count);
  });
}

// ---- Evaluation -----------------------------------------------------------------------------

qlora_status qlora_model_evaluate(qlora_model* model, const qlora_batch* batch, float* target_nll) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(target_nll, "target_nll");
    model->model->evaluate(batch, target_nll, nullptr);
  });
}

qlora_status qlora_model_logits(qlora_model* model, const qlora_batch* batch, float* logits) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    require(logits, "logits");
    model->model->evaluate(batch, nullptr, logits);
  });
}

// ---- Training -------------------------------------------------------------------------------

void qlora_train_config_default(qlora_train_config* config) {
  if (config == nullptr) return;
  qlora_train_config c{};
  c.struct_size = sizeof c;
  c.max_tokens = 2048;
  c.max_sequences = 64;
  c.max_targets = 2048;
  c.recompute = QLORA_RECOMPUTE_AUTO;
  c.beta1 = 0.9;
  c.beta2 = 0.999;
  c.epsilon = 1e-8;
  c.max_grad_norm = 1;
  *config = c;
}

qlora_status qlora_trainer_create(qlora_model* model, const qlora_train_config* config,
                                  qlora_trainer** out, char* error, int64_t error_capacity) {
  if (model == nullptr) {
    return call_into(error, error_capacity, [&] { require(model, "model"); });
  }
  const Running running(*model->model);
  if (!running.held()) return QLORA_ERROR_BUSY;
  return call_into(error, error_capacity, [&] {
    require(out, "out");
    const qlora_train_config c = read_config(config, "qlora_train_config");
    model->model->device().make_current();
    auto handle = std::make_unique<qlora_trainer>();
    handle->trainer = std::make_unique<qlora::Trainer>(model->model, c);
    *out = handle.release();
  });
}

void qlora_trainer_destroy(qlora_trainer* trainer) { delete trainer; }

const char* qlora_trainer_error(const qlora_trainer* trainer) {
  return trainer == nullptr ? "trainer must not be NULL" : trainer->message.c_str();
}

qlora_status qlora_trainer_accumulate(qlora_trainer* trainer, const qlora_batch* batch,
                                      float* target_nll, qlora_batch_result* result) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message, [&] {
    check_result(result, "qlora_batch_result");
    trainer->trainer->accumulate(batch, target_nll, *result);
  });
}

qlora_status qlora_trainer_step(qlora_trainer* trainer, double learning_rate,
                                qlora_step_result* result) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message, [&] {
    check_result(result, "qlora_step_result");
    trainer->trainer->step(learning_rate, *result);
  });
}

qlora_status qlora_trainer_reset_gradients(qlora_trainer* trainer) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message,
              [&] { trainer->trainer->reset_gradients(); });
}

qlora_status qlora_trainer_read_gradient(qlora_trainer* trainer, const char* name, float* values,
                                         int64_t count) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message, [&] {
    require(name, "name");
    require(values, "values");
    trainer->trainer->read_gradient(name, values, count);
  });
}

qlora_status qlora_trainer_state_bytes(qlora_trainer* trainer, int64_t* out_bytes) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message, [&] {
    require(out_bytes, "out_bytes");
    *out_bytes = trainer->trainer->state_bytes();
  });
}

qlora_status qlora_trainer_export_state(qlora_trainer* trainer, void* data, int64_t bytes) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message, [&] {
    require(data, "data");
    trainer->trainer->export_state(data, bytes);
  });
}

qlora_status qlora_trainer_import_state(qlora_trainer* trainer, const void* data, int64_t bytes) {
  if (trainer == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(trainer->trainer->model(), trainer->message, [&] {
    require(data, "data");
    trainer->trainer->import_state(data, bytes);
  });
}

// ---- Memory ---------------------------------------------------------------------------------

qlora_status qlora_model_memory(qlora_model* model, qlora_memory_report* report) {
  if (model == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(*model->model, model->message, [&] {
    check_result(report, "qlora_memory_report");
    qlora::Model& m = *model->model;
    qlora::fill_report(*report, m.budget().used(), m.training_capacity(), m.tiles_resident(),
                       m.device().memory());
  });
}

qlora_status qlora_plan_training(const qlora_model_config* config, const qlora_lora_config* lora,
                                 const qlora_train_config* train, qlora_memory_report* report,
                                 char* error, int64_t error_capacity) {
  return call_into(error, error_capacity, [&] {
    check_result(report, "qlora_memory_report");
    qlora::plan_training(read_config(config, "qlora_model_config"), lora, train, *report);
  });
}

// ---- Generation -----------------------------------------------------------------------------

void qlora_generator_config_default(qlora_generator_config* config) {
  if (config == nullptr) return;
  qlora_generator_config c{};
  c.struct_size = sizeof c;
  c.max_sequences = 16;
  c.max_sequence_tokens = 512;
  c.max_prefix_tokens = 512;
  *config = c;
}

void qlora_sampling_default(qlora_sampling* sampling) {
  if (sampling == nullptr) return;
  qlora_sampling s{};
  s.struct_size = sizeof s;
  s.max_new_tokens = 256;
  s.temperature = 0.7;
  s.top_p = 0.9;
  s.repetition_penalty = 1;
  *sampling = s;
}

qlora_status qlora_generator_create(qlora_model* model, const qlora_generator_config* config,
                                    qlora_generator** out, char* error, int64_t error_capacity) {
  if (model == nullptr) {
    return call_into(error, error_capacity, [&] { require(model, "model"); });
  }
  const Running running(*model->model);
  if (!running.held()) return QLORA_ERROR_BUSY;
  return call_into(error, error_capacity, [&] {
    require(out, "out");
    const qlora_generator_config c = read_config(config, "qlora_generator_config");
    model->model->device().make_current();
    auto handle = std::make_unique<qlora_generator>();
    handle->generator = std::make_unique<qlora::Generator>(model->model, c);
    *out = handle.release();
  });
}

void qlora_generator_destroy(qlora_generator* generator) { delete generator; }

const char* qlora_generator_error(const qlora_generator* generator) {
  return generator == nullptr ? "generator must not be NULL" : generator->message.c_str();
}

qlora_status qlora_generator_set_prefix(qlora_generator* generator, const int32_t* token_ids,
                                        int32_t count) {
  if (generator == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(generator->generator->model(), generator->message,
              [&] { generator->generator->set_prefix(token_ids, count); });
}

qlora_status qlora_generator_add(qlora_generator* generator, const int32_t* token_ids,
                                 int32_t count, const qlora_sampling* sampling,
                                 int32_t* out_sequence) {
  if (generator == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(generator->generator->model(), generator->message, [&] {
    require(out_sequence, "out_sequence");
    const qlora_sampling s = read_config(sampling, "qlora_sampling");
    *out_sequence = generator->generator->add(token_ids, count, s);
  });
}

qlora_status qlora_generator_remove(qlora_generator* generator, int32_t sequence) {
  if (generator == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(generator->generator->model(), generator->message,
              [&] { generator->generator->remove(sequence); });
}

qlora_status qlora_generator_run(qlora_generator* generator, int32_t max_steps,
                                 qlora_generated_token* tokens, int64_t capacity,
                                 int64_t* out_count, int32_t* out_live) {
  if (generator == nullptr) return QLORA_ERROR_INVALID_ARGUMENT;
  return call(generator->generator->model(), generator->message, [&] {
    require(tokens, "tokens");
    require(out_count, "out_count");
    require(out_live, "out_live");
    const qlora::Generator::RunResult result =
        generator->generator->run(max_steps, tokens, capacity);
    *out_count = result.count;
    *out_live = static_cast<int32_t>(generator->generator->live());
    if (result.cancelled) throw Error(QLORA_ERROR_CANCELLED, "cancelled by the caller's flag");
  });
}
