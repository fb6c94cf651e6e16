// What the graph tests share: handles that close themselves, golden models, batches in every
// packing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "golden.h"
#include "op_test.h"
#include "qlora.h"

namespace fixture {

// Whether these tests are built over the CUDA ops, whose activations are bf16. Results in bf16 are
// held to err(ours, fp32) ≤ 2 · err(naive bf16, fp32), err = ‖got − want‖ / ‖want‖, with naive
// bf16's error from the golden files; two ways to compute one thing must differ by less than naive
// bf16 does from fp32. Where the arithmetic is the same, the bits are.
constexpr bool kBf16 = sizeof(qlora::act_t) == 2;

// Throws std::runtime_error with the status and the message.
void check(qlora_status status, const std::string& message);

struct ModelDeleter {
  void operator()(qlora_model* m) const { qlora_model_destroy(m); }
};
struct TrainerDeleter {
  void operator()(qlora_trainer* t) const { qlora_trainer_destroy(t); }
};
struct GeneratorDeleter {
  void operator()(qlora_generator* g) const { qlora_generator_destroy(g); }
};
using Model = std::unique_ptr<qlora_model, ModelDeleter>;
using Trainer = std::unique_ptr<qlora_trainer, TrainerDeleter>;
using Generator = std::unique_ptr<qlora_generator, GeneratorDeleter>;

enum class Loading { whole, bitsandbytes_parts };

struct ModelOptions {
  int threads = 1;
  double dropout = 0;
  Loading loading = Loading::whole;
  bool adapter = true;
  int64_t memory_budget = 0;
};
qlora_model_config config_of(const golden::Case& c, const ModelOptions& options = {});
qlora_lora_config lora_of(const golden::Case& c, double dropout = 0);
Model make_model(const golden::Case& c, const ModelOptions& options = {});
// Random weights of that shape, the same every time.
Model make_random_model(const qlora_model_config& config, const qlora_lora_config& lora,
                        double std = 0.1);
// What the device's context and libraries take of every budget; 0 on the CPU.
int64_t device_overhead(const qlora_model_config& config);
// The largest memory_budget under which the dequantised weights do not stay: tiles, and small ones.
int64_t tiled_budget(const golden::Case& c);
void load_base(qlora_model* model, const golden::Case& c, Loading loading = Loading::whole);

// A batch before packing: samples behind one prefix, and their targets.
struct Samples {
  std::vector<int32_t> prefix;
  std::vector<std::vector<int32_t>> samples;
  struct Target {
    int32_t sample, position;  // of the target token in prefix + sample
    float weight;
  };
  std::vector<Target> targets;
  std::vector<int32_t> keys;  // one a sample

  double weight_sum() const;
  // Those samples only.
  Samples pick(const std::vector<int>& indices) const;
};
Samples samples_of(const golden::Case& c, int batch);

// Packed: owns the arrays a qlora_batch points to. order[i]: the target's index in samples.targets.
struct Packed {
  std::vector<int32_t> tokens, cu_seqlens, keys, rows, ids;
  std::vector<float> weights;
  std::vector<size_t> order;
  int32_t prefix_length = 0;

  qlora_batch view() const;
};
Packed pack(const Samples& samples, bool share_prefix);

struct TrainOptions {
  int recompute = QLORA_RECOMPUTE_NONE;
  double max_grad_norm = 1;
  double weight_decay = 0;
  double epsilon = 1e-8;
  int max_tokens = 256;
  uint64_t dropout_seed = 7;
};
Trainer make_trainer(qlora_model* model, const TrainOptions& options = {});
qlora_batch_result accumulate(qlora_trainer* trainer, const Samples& samples, bool share_prefix);
qlora_step_result step(qlora_trainer* trainer, double learning_rate);

std::vector<float> read_gradient(qlora_trainer* trainer, const std::string& name, int64_t count);
// Concatenated over all adapter tensors of the case.
std::vector<float> read_gradients(qlora_trainer* trainer, const golden::Case& c);
std::vector<float> read_adapter(qlora_model* model, const golden::Case& c);
// Per target in the samples' order.
std::vector<float> evaluate(qlora_model* model, const Samples& samples, bool share_prefix);

// Largest difference over the largest wanted value.
double difference(const std::vector<float>& got, const std::vector<float>& want);
// ‖got − want‖ / ‖want‖; infinite for NaN.
double relative_error(const std::vector<float>& got, const std::vector<float>& want);
// Two ways to compute one thing: in fp32 `difference` within the tolerance, in bf16
// `relative_error` within naive_error.
void expect_equal(const std::vector<float>& a, const std::vector<float>& b, double tolerance,
                  double naive_error, const std::string& what);

}  // namespace fixture
