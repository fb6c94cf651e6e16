#include "fixture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "architecture.h"
#include "ops.h"

namespace fixture {

void check(qlora_status status, const std::string& message) {
  if (status == QLORA_OK) return;
  throw std::runtime_error("status " + std::to_string(status) + ": " + message);
}

qlora_model_config config_of(const golden::Case& c, const ModelOptions& options) {
  qlora_model_config config;
  qlora_model_config_default(&config);
  const auto integer = [&](const char* key) { return static_cast<int32_t>(c.number(key)); };
  config.hidden_size = integer("hidden");
  config.intermediate_size = integer("ffn");
  config.num_layers = integer("layers");
  config.num_heads = integer("heads");
  config.num_kv_heads = integer("kv_heads");
  config.head_dim = integer("head_dim");
  config.vocab_size = integer("vocab");
  config.max_position = integer("max_position");
  config.rope_theta = c.number("rope_theta");
  config.rope_scaling = c.flag("llama3") ? QLORA_ROPE_LLAMA3 : QLORA_ROPE_NONE;
  config.rope_factor = c.number("rope_factor");
  config.rope_original_max_position = 32;
  config.tie_word_embeddings = c.flag("tied") ? 1 : 0;
  config.qkv_bias = c.text("family") == "qwen2" ? 1 : 0;
  config.qk_norm = c.text("family") == "qwen3" ? 1 : 0;
  config.rms_norm_eps = c.number("eps");
  const std::string quantization = c.text("quantization");
  config.quantization = quantization == "none"  ? QLORA_QUANTIZATION_NONE
                        : quantization == "nf4" ? QLORA_QUANTIZATION_NF4
                                                : QLORA_QUANTIZATION_NF4_DOUBLE;
  config.threads = options.threads;
  config.memory_budget = options.memory_budget;
  return config;
}

qlora_lora_config lora_of(const golden::Case& c, double dropout) {
  qlora_lora_config config;
  qlora_lora_config_default(&config);
  config.rank = static_cast<int32_t>(c.number("rank"));
  config.alpha = c.number("alpha");
  config.dropout = dropout;
  config.target_modules = static_cast<int32_t>(c.number("target_modules"));
  config.use_rslora = c.flag("rslora") ? 1 : 0;
  return config;
}

int64_t device_overhead(const qlora_model_config& config) {
  qlora_model_config unlimited = config;
  unlimited.memory_budget = 0;
  qlora_memory_report report{};
  report.struct_size = sizeof report;
  char error[512] = "";
  check(qlora_plan_training(&unlimited, nullptr, nullptr, &report, error, sizeof error), error);
  return report.context;
}

int64_t tiled_budget(const golden::Case& c) {
  const qlora_model_config config = config_of(c);
  const qlora_lora_config lora = lora_of(c);
  const qlora::Architecture arch(config);
  int64_t dequantised = 0;
  for (const qlora::GroupShape& group : qlora::make_groups(arch, lora.rank, lora.target_modules)) {
    dequantised += arch.L * group.out * group.ld * static_cast<int64_t>(sizeof(qlora::act_t));
  }
  return device_overhead(config) + 4 * dequantised - 1;  // a quarter of it is a byte too small
}

void load_base(qlora_model* model, const golden::Case& c, Loading loading) {
  const auto load = [&](const std::string& name, const golden::Tensor& t) {
    check(qlora_model_load_tensor(model, name.c_str(), t.qlora_dtype(), t.shape.data(),
                                  static_cast<int32_t>(t.shape.size()), t.bytes.data(),
                                  static_cast<int64_t>(t.bytes.size())),
          qlora_model_error(model));
  };
  for (const std::string& name : c.names("base.")) {
    if (loading == Loading::bitsandbytes_parts && c.has("bnb." + name)) continue;
    load(name, c.tensor("base." + name));
  }
  if (loading == Loading::bitsandbytes_parts) {
    for (const std::string& name : c.names("bnb.")) load(name, c.tensor("bnb." + name));
  }
  check(qlora_model_finalize(model), qlora_model_error(model));
}

Model make_model(const golden::Case& c, const ModelOptions& options) {
  const qlora_model_config config = config_of(c, options);
  qlora_model* raw = nullptr;
  char error[512] = "";
  check(qlora_model_create(&config, &raw, error, sizeof error), error);
  Model model(raw);
  load_base(raw, c, options.loading);
  if (!options.adapter) return model;
  const qlora_lora_config lora = lora_of(c, options.dropout);
  check(qlora_model_attach_lora(raw, &lora), qlora_model_error(raw));
  for (const std::string& name : c.names("lora.")) {
    const std::vector<float> values = c.tensor("lora." + name).floats();
    check(qlora_model_write_lora(raw, name.c_str(), values.data(),
                                 static_cast<int64_t>(values.size())),
          qlora_model_error(raw));
  }
  return model;
}

Model make_random_model(const qlora_model_config& config, const qlora_lora_config& lora,
                        double std) {
  qlora_model* raw = nullptr;
  char error[512] = "";
  check(qlora_model_create(&config, &raw, error, sizeof error), error);
  Model model(raw);
  check(qlora_model_load_random(raw, 11, std), qlora_model_error(raw));
  check(qlora_model_finalize(raw), qlora_model_error(raw));
  check(qlora_model_attach_lora(raw, &lora), qlora_model_error(raw));
  return model;
}

double Samples::weight_sum() const {
  double sum = 0;
  for (const Target& target : targets) sum += static_cast<double>(target.weight);
  return sum;
}

Samples Samples::pick(const std::vector<int>& indices) const {
  Samples out;
  out.prefix = prefix;
  for (size_t i = 0; i < indices.size(); ++i) {
    const size_t index = static_cast<size_t>(indices[i]);
    out.samples.push_back(samples[index]);
    out.keys.push_back(keys[index]);
    for (const Target& target : targets) {
      if (target.sample != indices[i]) continue;
      out.targets.push_back({static_cast<int32_t>(i), target.position, target.weight});
    }
  }
  return out;
}

Samples samples_of(const golden::Case& c, int batch) {
  const std::string prefix = "batch." + std::to_string(batch) + ".";
  Samples out;
  out.prefix = c.tensor(prefix + "prefix").integers();
  const std::vector<int32_t> tokens = c.tensor(prefix + "tokens").integers();
  size_t begin = 0;
  for (const int32_t length : c.tensor(prefix + "lengths").integers()) {
    const size_t end = begin + static_cast<size_t>(length);
    out.samples.emplace_back(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                             tokens.begin() + static_cast<std::ptrdiff_t>(end));
    out.keys.push_back(static_cast<int32_t>(100 + 3 * out.samples.size()));
    begin = end;
  }
  const std::vector<int32_t> samples = c.tensor(prefix + "target_samples").integers();
  const std::vector<int32_t> positions = c.tensor(prefix + "target_positions").integers();
  const std::vector<float> weights = c.tensor(prefix + "target_weights").floats();
  for (size_t i = 0; i < samples.size(); ++i) {
    out.targets.push_back({samples[i], positions[i], weights[i]});
  }
  return out;
}

qlora_batch Packed::view() const {
  qlora_batch b{};
  b.struct_size = sizeof b;
  b.num_tokens = static_cast<int32_t>(tokens.size());
  b.num_sequences = static_cast<int32_t>(cu_seqlens.size()) - 1;
  b.prefix_length = prefix_length;
  b.num_targets = static_cast<int32_t>(rows.size());
  b.token_ids = tokens.data();
  b.cu_seqlens = cu_seqlens.data();
  b.sequence_keys = keys.data();
  b.target_rows = rows.data();
  b.target_ids = ids.data();
  b.target_weights = weights.data();
  return b;
}

Packed pack(const Samples& samples, bool share_prefix) {
  Packed out;
  const int32_t P = static_cast<int32_t>(samples.prefix.size());
  if (share_prefix) {
    out.tokens = samples.prefix;
    out.prefix_length = P;
  }
  out.cu_seqlens.push_back(out.prefix_length);
  for (const std::vector<int32_t>& sample : samples.samples) {
    if (!share_prefix) {
      out.tokens.insert(out.tokens.end(), samples.prefix.begin(), samples.prefix.end());
    }
    out.tokens.insert(out.tokens.end(), sample.begin(), sample.end());
    out.cu_seqlens.push_back(static_cast<int32_t>(out.tokens.size()));
  }
  out.keys = samples.keys;
  std::vector<int32_t> rows;
  for (const Samples::Target& t : samples.targets) {
    const int32_t begin = out.cu_seqlens[static_cast<size_t>(t.sample)];
    const int32_t before = t.position - 1;  // the row that predicts the target
    const int32_t row = !share_prefix ? begin + before : before < P ? before : begin + before - P;
    rows.push_back(row);
    out.order.push_back(out.order.size());
  }
  std::stable_sort(out.order.begin(), out.order.end(),
                   [&](size_t a, size_t b) { return rows[a] < rows[b]; });
  for (const size_t i : out.order) {
    const Samples::Target& t = samples.targets[i];
    const std::vector<int32_t>& sample = samples.samples[static_cast<size_t>(t.sample)];
    out.rows.push_back(rows[i]);
    out.ids.push_back(t.position < P ? samples.prefix[static_cast<size_t>(t.position)]
                                     : sample[static_cast<size_t>(t.position - P)]);
    out.weights.push_back(t.weight);
  }
  return out;
}

Trainer make_trainer(qlora_model* model, const TrainOptions& options) {
  qlora_train_config config;
  qlora_train_config_default(&config);
  config.max_tokens = options.max_tokens;
  config.max_sequences = 16;
  config.max_targets = options.max_tokens;
  config.recompute = options.recompute;
  config.max_grad_norm = options.max_grad_norm;
  config.weight_decay = options.weight_decay;
  config.epsilon = options.epsilon;
  config.dropout_seed = options.dropout_seed;
  qlora_trainer* raw = nullptr;
  char error[512] = "";
  check(qlora_trainer_create(model, &config, &raw, error, sizeof error), error);
  return Trainer(raw);
}

qlora_batch_result accumulate(qlora_trainer* trainer, const Samples& samples, bool share_prefix) {
  const Packed packed = pack(samples, share_prefix);
  const qlora_batch batch = packed.view();
  qlora_batch_result result{};
  result.struct_size = sizeof result;
  check(qlora_trainer_accumulate(trainer, &batch, nullptr, &result), qlora_trainer_error(trainer));
  return result;
}

qlora_step_result step(qlora_trainer* trainer, double learning_rate) {
  qlora_step_result result{};
  result.struct_size = sizeof result;
  check(qlora_trainer_step(trainer, learning_rate, &result), qlora_trainer_error(trainer));
  return result;
}

std::vector<float> read_gradient(qlora_trainer* trainer, const std::string& name, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  check(qlora_trainer_read_gradient(trainer, name.c_str(), values.data(), count),
        qlora_trainer_error(trainer));
  return values;
}

std::vector<float> read_gradients(qlora_trainer* trainer, const golden::Case& c) {
  std::vector<float> all;
  for (const std::string& name : c.names("lora.")) {
    const int64_t count = c.tensor("lora." + name).count();
    const std::vector<float> values = read_gradient(trainer, name, count);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::vector<float> read_adapter(qlora_model* model, const golden::Case& c) {
  std::vector<float> all;
  for (const std::string& name : c.names("lora.")) {
    std::vector<float> values(static_cast<size_t>(c.tensor("lora." + name).count()));
    check(qlora_model_read_lora(model, name.c_str(), values.data(),
                                static_cast<int64_t>(values.size())),
          qlora_model_error(model));
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

std::vector<float> evaluate(qlora_model* model, const Samples& samples, bool share_prefix) {
  const Packed packed = pack(samples, share_prefix);
  const qlora_batch batch = packed.view();
  std::vector<float> sorted(packed.rows.size());
  check(qlora_model_evaluate(model, &batch, sorted.data()), qlora_model_error(model));
  std::vector<float> nll(sorted.size());
  for (size_t i = 0; i < sorted.size(); ++i) nll[packed.order[i]] = sorted[i];
  return nll;
}

double difference(const std::vector<float>& got, const std::vector<float>& want) {
  return op_test::error_of(op_test::doubles(got), op_test::doubles(want), 1e-6);
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double a = static_cast<double>(got[i]);
    const double b = static_cast<double>(want[i]);
    if (!std::isfinite(a)) return std::numeric_limits<double>::infinity();
    error += (a - b) * (a - b);
    size += b * b;
  }
  return error == 0 ? 0 : std::sqrt(error / size);
}

void expect_equal(const std::vector<float>& a, const std::vector<float>& b, double tolerance,
                  double naive_error, const std::string& what) {
  const double error = kBf16 ? relative_error(a, b) : difference(a, b);
  const double allowed = kBf16 ? naive_error : tolerance;
  EXPECT(error <= allowed, what + ": " + std::to_string(error * 1e6) + "e-6, allowed " +
                               std::to_string(allowed * 1e6) + "e-6");
}

}  // namespace fixture
