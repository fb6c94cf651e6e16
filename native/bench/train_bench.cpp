// Training rate of a random Llama through the C ABI, on the CPU build or the CUDA build: optimiser
// steps of samples behind a shared prefix, packed into micro-batches as lib/training/packing.ts
// packs them.
//   qlora_train_bench [key=value …]        (qlora_cuda_train_bench: the same over the CUDA ops)
//     shape=small|8b       hidden 256, 6 layers | Llama-3.1-8B                      (small)
//     steps=N warmup=N     timed optimiser steps, and steps before the clock        (5, 1)
//     samples=N            samples an optimiser step                                (32)
//     prefix=N             tokens shared by all samples; 0: nothing is shared       (336)
//     mean=X spread=X      own tokens of a sample: normal, cut to [40, mean + 3 spread]  (170, 60)
//     answer=X             share of the own tokens that are targets, at the end     (0.6)
//     micro=N              tokens of a micro-batch at most; 0: the whole step       (0)
//     sequences=N          samples of a micro-batch at most                         (samples)
//     modules=all|qkvo     what the adapter covers                                  (all)
//     rank=N dropout=X     of the adapter                                           (16, .05)
//     recompute=auto|none|full                                                      (auto)
//     memory=GB            device memory the model may use; 0: what is free         (0)
//     evaluate=0|1         time the evaluation of the same samples as well          (1)
//     threads=N device=N seed=N
//   The seed's 512-token samples without prefix sharing: prefix=0 mean=512 spread=0 answer=.3
//
// Operations counted (a multiply-add is two): the base products forward and for dX, LoRA's products
// (U, U·B, dU, dB, dA, dX), attention's as a causal mask leaves them (2 products forward, 5
// backward), the head at the target rows, and what is recomputed. The last layer's o, gate, up and
// down see the target rows only; layer 0's q, k, v need no dX. Not counted: dequantisation, norms,
// softmax, AdamW.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "qlora.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

// message is called after the call it explains.
template <class Message>
void check(qlora_status status, const Message& message) {
  if (status != QLORA_OK) fail(message());
}

struct Settings {
  std::map<std::string, std::string> text = {
      {"shape", "small"},  {"steps", "5"},        {"warmup", "1"},    {"samples", "32"},
      {"prefix", "336"},   {"mean", "170"},       {"spread", "60"},   {"answer", "0.6"},
      {"micro", "0"},      {"sequences", "0"},    {"modules", "all"}, {"rank", "16"},
      {"dropout", "0.05"}, {"recompute", "auto"}, {"memory", "0"},    {"evaluate", "1"},
      {"threads", "0"},    {"device", "0"},       {"seed", "1"}};

  Settings(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      const size_t equals = argument.find('=');
      const auto found = text.find(argument.substr(0, equals));
      if (equals == std::string::npos || found == text.end()) {
        std::string names;
        for (const auto& entry : text) names += " " + entry.first;
        fail("expected key=value, found '" + argument + "'; the keys are" + names);
      }
      found->second = argument.substr(equals + 1);
    }
  }
  double real(const std::string& key) const {
    const std::string& value = text.at(key);
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (value.empty() || *end != '\0' || !(number >= 0)) {
      fail(key + ": expected a number of at least 0, found '" + value + "'");
    }
    return number;
  }
  int integer(const std::string& key) const {
    const double number = real(key);
    if (number != std::floor(number) || number > 1e9) {
      fail(key + ": expected an integer, found '" + text.at(key) + "'");
    }
    return static_cast<int>(number);
  }
  int choice(const std::string& key, const std::map<std::string, int>& values) const {
    const auto found = values.find(text.at(key));
    if (found != values.end()) return found->second;
    std::string names;
    for (const auto& entry : values) names += (names.empty() ? "" : ", ") + entry.first;
    fail(key + ": expected one of " + names + ", found '" + text.at(key) + "'");
  }
};

qlora_model_config model_config(const Settings& settings) {
  qlora_model_config config;
  qlora_model_config_default(&config);  // Llama-3.1-8B
  if (settings.choice("shape", {{"small", 0}, {"8b", 1}}) == 0) {
    config.hidden_size = 256;
    config.intermediate_size = 704;
    config.num_layers = 6;
    config.num_heads = 8;
    config.num_kv_heads = 4;
    config.head_dim = 32;
    config.vocab_size = 4096;
    config.max_position = 4096;
    config.tie_word_embeddings = 1;
  }
  config.threads = settings.integer("threads");
  config.device = settings.integer("device");
  config.memory_budget = static_cast<int64_t>(settings.real("memory") * 1e9);
  return config;
}

// A micro-batch and the memory its pointers name.
struct MicroBatch {
  std::vector<int32_t> ids, cu_seqlens, keys, rows, targets;

  qlora_batch view(int prefix) const {
    qlora_batch batch = {};
    batch.struct_size = sizeof(batch);
    batch.num_tokens = static_cast<int32_t>(ids.size());
    batch.num_sequences = static_cast<int32_t>(keys.size());
    batch.prefix_length = prefix;
    batch.num_targets = static_cast<int32_t>(rows.size());
    batch.token_ids = ids.data();
    batch.cu_seqlens = cu_seqlens.data();
    batch.sequence_keys = keys.data();
    batch.target_rows = rows.data();
    batch.target_ids = targets.data();
    return batch;
  }
};

// Draws the samples of one optimiser step and packs them.
class Sampler {
 public:
  Sampler(const Settings& settings, int vocabulary)
      : settings_(settings),
        random_(static_cast<uint64_t>(settings.integer("seed"))),
        vocabulary_(static_cast<uint64_t>(vocabulary)) {
    for (int i = 0; i < settings.integer("prefix"); ++i) prefix_.push_back(token());
  }

  std::vector<MicroBatch> step() {
    const int samples = settings_.integer("samples");
    const int most = settings_.integer("sequences") > 0 ? settings_.integer("sequences") : samples;
    const size_t room =
        settings_.integer("micro") > 0 ? static_cast<size_t>(settings_.integer("micro")) : SIZE_MAX;
    std::vector<MicroBatch> batches;
    for (int s = 0; s < samples; ++s) {
      const int length = own_tokens();
      if (prefix_.size() + static_cast<size_t>(length) > room) {
        fail("micro: expected at least " + std::to_string(prefix_.size() + size_t(length)) +
             " tokens, which one sample takes");
      }
      if (batches.empty() || batches.back().ids.size() + static_cast<size_t>(length) > room ||
          batches.back().keys.size() >= static_cast<size_t>(most)) {
        batches.emplace_back();
        batches.back().ids = prefix_;
        batches.back().cu_seqlens = {static_cast<int32_t>(prefix_.size())};
      }
      add(batches.back(), length);
    }
    return batches;
  }

 private:
  int32_t token() { return static_cast<int32_t>(random_() % vocabulary_); }
  double uniform() { return (static_cast<double>(random_() >> 11) + 0.5) * 0x1p-53; }
  int own_tokens() {
    const double mean = settings_.real("mean"), spread = settings_.real("spread");
    const double normal =
        std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
    const double least = std::min(40.0, mean);
    const double drawn = mean + spread * normal;
    return static_cast<int>(std::lround(std::min(std::max(drawn, least), mean + 3 * spread)));
  }
  void add(MicroBatch& batch, int length) {
    const int answer = std::max(1, std::min(length - 1, int(length * settings_.real("answer"))));
    for (int i = 0; i < length; ++i) {
      const int32_t id = token();
      if (i >= length - answer) {
        batch.rows.push_back(static_cast<int32_t>(batch.ids.size()) - 1);
        batch.targets.push_back(id);
      }
      batch.ids.push_back(id);
    }
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.ids.size()));
    batch.keys.push_back(next_key_++);
  }

  const Settings& settings_;
  std::mt19937_64 random_;
  uint64_t vocabulary_;
  std::vector<int32_t> prefix_;
  int32_t next_key_ = 0;
};

// The products of one layer.
struct Linear {
  double in, out;
  int module;
};
std::vector<Linear> linears(const qlora_model_config& c) {
  const double H = c.hidden_size, F = c.intermediate_size;
  const double q = double(c.num_heads) * c.head_dim, kv = double(c.num_kv_heads) * c.head_dim;
  return {{H, q, QLORA_Q_PROJ},   {H, kv, QLORA_K_PROJ},   {H, kv, QLORA_V_PROJ},
          {q, H, QLORA_O_PROJ},   {H, F, QLORA_GATE_PROJ}, {H, F, QLORA_UP_PROJ},
          {F, H, QLORA_DOWN_PROJ}};
}

// Pairs (query, key) that the mask leaves.
double attended_pairs(const MicroBatch& batch, double prefix) {
  double pairs = prefix * (prefix + 1) / 2;
  for (size_t s = 0; s < batch.keys.size(); ++s) {
    const double n = batch.cu_seqlens[s + 1] - batch.cu_seqlens[s];
    pairs += n * prefix + n * (n + 1) / 2;
  }
  return pairs;
}

// Floating-point operations of one micro-batch, by the convention above.
double flops_of(const qlora_model_config& c, const qlora_lora_config& lora, const MicroBatch& batch,
                double prefix, int kept_layers) {
  constexpr int kQkv = QLORA_Q_PROJ | QLORA_K_PROJ | QLORA_V_PROJ;
  const double tokens = double(batch.ids.size()), targets = double(batch.rows.size());
  const double attention = 2.0 * c.num_heads * c.head_dim * attended_pairs(batch, prefix);
  double flops = 2 * 2 * targets * c.hidden_size * c.vocab_size;  // head: logits, gradient
  for (int layer = 0; layer < c.num_layers; ++layer) {
    const bool again = layer < c.num_layers - kept_layers;
    flops += attention * (2 + 5 + (again ? 2 : 0));
    for (const Linear& w : linears(c)) {
      const bool behind = (w.module & kQkv) == 0;  // behind attention
      const double rows = layer == c.num_layers - 1 && behind ? targets : tokens;
      const double rank = (lora.target_modules & w.module) != 0 ? lora.rank : 0;
      const bool dx = layer > 0 || behind;
      const double base = w.in * w.out, a = rank * w.in, b = rank * w.out;
      double products = base + a + b;               // Y, U = X·Aᵀ, U·Bᵀ
      products += b + b + a + (dx ? base + a : 0);  // dU, dB, dA; dX, dU·A
      if (again) products += a + (w.module == QLORA_DOWN_PROJ ? 0 : base + b);
      flops += 2 * rows * products;
    }
  }
  return flops;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings(argc, argv);
  const int steps = std::max(1, settings.integer("steps")), warmup = settings.integer("warmup");
  const int prefix = settings.integer("prefix");
  const qlora_model_config config = model_config(settings);

  char error[2048] = "";
  qlora_model* model = nullptr;
  qlora_trainer* trainer = nullptr;
  const auto text = [&] { return std::string(error); };
  const auto of_model = [&] { return std::string(qlora_model_error(model)); };
  const auto of_trainer = [&] { return std::string(qlora_trainer_error(trainer)); };
  int64_t length = 0;
  check(qlora_library_describe(error, sizeof(error), &length), text);
  std::printf("%s\n", error);

  const Clock::time_point begun = Clock::now();
  check(qlora_model_create(&config, &model, error, sizeof(error)), text);
  check(qlora_model_load_random(model, 1, 0.02), of_model);
  check(qlora_model_finalize(model), of_model);
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  lora.rank = settings.integer("rank");
  lora.alpha = 2.0 * lora.rank;
  lora.dropout = settings.real("dropout");
  lora.target_modules = settings.choice(
      "modules", {{"all", lora.target_modules},
                  {"qkvo", QLORA_Q_PROJ | QLORA_K_PROJ | QLORA_V_PROJ | QLORA_O_PROJ}});
  check(qlora_model_attach_lora(model, &lora), of_model);

  Sampler sampler(settings, config.vocab_size);
  std::vector<std::vector<MicroBatch>> plan;
  qlora_train_config train;
  qlora_train_config_default(&train);
  train.max_tokens = train.max_sequences = train.max_targets = 1;
  for (int i = 0; i < warmup + steps; ++i) {
    plan.push_back(sampler.step());
    for (const MicroBatch& batch : plan.back()) {
      const qlora_batch view = batch.view(prefix);
      train.max_tokens = std::max(train.max_tokens, view.num_tokens);
      train.max_sequences = std::max(train.max_sequences, view.num_sequences);
      train.max_targets = std::max(train.max_targets, view.num_targets);
    }
  }
  train.recompute = settings.choice("recompute", {{"none", QLORA_RECOMPUTE_NONE},
                                                  {"full", QLORA_RECOMPUTE_FULL},
                                                  {"auto", QLORA_RECOMPUTE_AUTO}});
  check(qlora_trainer_create(model, &train, &trainer, error, sizeof(error)), text);
  qlora_memory_report memory = {};
  memory.struct_size = sizeof(memory);
  check(qlora_model_memory(model, &memory), of_model);
  std::printf(
      "ready in %.1f s; %.3f GB planned (activations %.3f, workspace %.3f), %d of %d layers kept, "
      "device memory in use %.3f GB\n",
      seconds_since(begun), double(memory.total) * 1e-9, double(memory.activations) * 1e-9,
      double(memory.workspace) * 1e-9, memory.kept_layers, config.num_layers,
      double(memory.device_total - memory.device_free) * 1e-9);

  qlora_batch_result result = {};
  result.struct_size = sizeof(result);
  qlora_step_result step = {};
  step.struct_size = sizeof(step);
  std::vector<double> step_seconds, optimizer_seconds;
  double tokens = 0, targets = 0, flops = 0, unshared = 0, total = 0;
  int64_t micro_batches = 0;
  for (int i = 0; i < warmup + steps; ++i) {
    const Clock::time_point start = Clock::now();
    for (const MicroBatch& batch : plan[size_t(i)]) {
      const qlora_batch view = batch.view(prefix);
      check(qlora_trainer_accumulate(trainer, &view, nullptr, &result), of_trainer);
    }
    const Clock::time_point accumulated = Clock::now();
    check(qlora_trainer_step(trainer, 1e-4, &step), of_trainer);
    const double seconds = seconds_since(start), optimizer = seconds_since(accumulated);
    std::printf("%s %d: loss %.4f, %.1f ms (optimiser %.2f ms)\n", i < warmup ? "warm-up" : "step",
                i < warmup ? i + 1 : i + 1 - warmup, step.loss, seconds * 1e3, optimizer * 1e3);
    if (i < warmup) continue;
    step_seconds.push_back(seconds);
    optimizer_seconds.push_back(optimizer);
    total += seconds;
    for (const MicroBatch& batch : plan[size_t(i)]) {
      tokens += double(batch.ids.size());
      targets += double(batch.rows.size());
      unshared += double(batch.ids.size()) + double(prefix) * double(batch.keys.size() - 1);
      flops += flops_of(config, lora, batch, prefix, memory.kept_layers);
      ++micro_batches;
    }
  }
  const double samples = double(steps) * settings.integer("samples");
  std::printf(
      "%d steps of %d samples in %.1f micro-batches: %.0f tokens computed a step (%.0f unshared), "
      "%.0f targets\n"
      "median step %.1f ms (optimiser %.2f ms); mean %.1f ms: %.1f samples/s, %.0f tokens/s "
      "computed, %.0f tokens/s unshared\n"
      "%.4g TFLOP a step, %.4g GFLOP a token computed: %.4g TFLOP/s\n",
      steps, settings.integer("samples"), double(micro_batches) / steps, tokens / steps,
      unshared / steps, targets / steps, median(step_seconds) * 1e3,
      median(optimizer_seconds) * 1e3, total / steps * 1e3, samples / total, tokens / total,
      unshared / total, flops / steps * 1e-12, flops / tokens * 1e-9, flops / total * 1e-12);

  if (settings.integer("evaluate") != 0) {
    std::vector<float> nll(size_t(train.max_targets));
    double seconds = 0, evaluated = 0;
    for (int i = 0; i < warmup + steps; ++i) {
      const Clock::time_point start = Clock::now();
      for (const MicroBatch& batch : plan[size_t(i)]) {
        const qlora_batch view = batch.view(prefix);
        check(qlora_model_evaluate(model, &view, nll.data()), of_model);
      }
      if (i < warmup) continue;
      seconds += seconds_since(start);
      for (const MicroBatch& batch : plan[size_t(i)]) evaluated += double(batch.ids.size());
    }
    std::printf("evaluation: %.1f ms for %d samples, %.0f tokens/s computed, %.1f samples/s\n",
                seconds / steps * 1e3, settings.integer("samples"), evaluated / seconds,
                samples / seconds);
  }
  check(qlora_model_memory(model, &memory), of_model);
  std::printf("device memory in use at the end %.3f GB\n",
              double(memory.device_total - memory.device_free) * 1e-9);
  qlora_trainer_destroy(trainer);
  qlora_model_destroy(model);
  return 0;
}
