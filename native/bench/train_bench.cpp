// Training and evaluation rate of a small random Llama through the C ABI, beside the time its dense
// products alone would take at the multiply-add peak.
//   train_bench [threads] [steps] [prefix] [sequences] [tokens a sequence] [dropout]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "qlora.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// message is called after the call it explains.
template <class Message>
void check(qlora_status status, const Message& message) {
  if (status == QLORA_OK) return;
  std::fprintf(stderr, "%s\n", message());
  std::exit(1);
}

qlora_model_config small_llama(int threads) {
  qlora_model_config config;
  qlora_model_config_default(&config);
  config.hidden_size = 256;
  config.intermediate_size = 704;
  config.num_layers = 6;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 32;
  config.vocab_size = 4096;
  config.max_position = 4096;
  config.tie_word_embeddings = 1;
  config.threads = threads;
  return config;
}

// Multiply-adds a token of a training step: base products twice (forward, dX), LoRA products four
// times less the recompute there is none of, the head over the targets.
double flops_of_step(const qlora_model_config& c, int rank, double tokens, double targets) {
  const double H = c.hidden_size, F = c.intermediate_size;
  const double q = double(c.num_heads) * c.head_dim, kv = double(c.num_kv_heads) * c.head_dim;
  const double base = H * (q + 2 * kv) + q * H + 3 * H * F;
  const double lora = rank * (3 * H + q + 2 * kv + q + H + 2 * H + 2 * F + F + H);
  return 2.0 * (tokens * c.num_layers * (2 * base + 4 * lora) + 2 * targets * H * c.vocab_size);
}

int argument(int argc, char** argv, int index, int otherwise) {
  return argc > index ? std::atoi(argv[index]) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argument(argc, argv, 1, 0), steps = argument(argc, argv, 2, 5);
  const int prefix = argument(argc, argv, 3, 100), sequences = argument(argc, argv, 4, 24);
  const int length = argument(argc, argv, 5, 80);
  const double dropout = argc > 6 ? std::atof(argv[6]) : 0.05;

  char error[512] = "";
  const qlora_model_config config = small_llama(threads);
  qlora_model* model = nullptr;
  qlora_trainer* trainer = nullptr;
  const auto text = [&] { return static_cast<const char*>(error); };
  const auto of_model = [&] { return qlora_model_error(model); };
  const auto of_trainer = [&] { return qlora_trainer_error(trainer); };
  check(qlora_model_create(&config, &model, error, sizeof(error)), text);
  check(qlora_model_load_random(model, 1, 0.02), of_model);
  check(qlora_model_finalize(model), of_model);
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  lora.dropout = dropout;
  check(qlora_model_attach_lora(model, &lora), of_model);

  std::vector<int32_t> ids, cu = {prefix}, rows, targets;
  for (int i = 0; i < prefix; ++i) ids.push_back(i * 7 % config.vocab_size);
  for (int s = 0; s < sequences; ++s) {
    for (int i = 0; i < length; ++i) {
      if (i >= length / 2) {  // the answer's half counts
        rows.push_back(static_cast<int32_t>(ids.size()) - 1);
        targets.push_back((s * 131 + i * 17) % config.vocab_size);
      }
      ids.push_back((s * 131 + i * 17) % config.vocab_size);
    }
    cu.push_back(static_cast<int32_t>(ids.size()));
  }
  qlora_batch batch = {};
  batch.struct_size = sizeof(batch);
  batch.num_tokens = static_cast<int32_t>(ids.size());
  batch.num_sequences = sequences;
  batch.prefix_length = prefix;
  batch.num_targets = static_cast<int32_t>(rows.size());
  batch.token_ids = ids.data();
  batch.cu_seqlens = cu.data();
  batch.target_rows = rows.data();
  batch.target_ids = targets.data();

  qlora_train_config train;
  qlora_train_config_default(&train);
  train.max_tokens = batch.num_tokens;
  train.max_sequences = sequences;
  train.max_targets = batch.num_targets;
  check(qlora_trainer_create(model, &train, &trainer, error, sizeof(error)), text);

  qlora_batch_result result = {};
  result.struct_size = sizeof(result);
  qlora_step_result step = {};
  step.struct_size = sizeof(step);
  double best = 1e9;
  for (int i = 0; i < steps; ++i) {
    const Clock::time_point start = Clock::now();
    check(qlora_trainer_accumulate(trainer, &batch, nullptr, &result), of_trainer);
    check(qlora_trainer_step(trainer, 1e-3, &step), of_trainer);
    const double seconds = seconds_since(start);
    best = seconds < best ? seconds : best;
    std::printf("step %d: loss %.4f, %.1f ms\n", i + 1, step.loss, seconds * 1e3);
  }
  const double flops = flops_of_step(config, lora.rank, batch.num_tokens, batch.num_targets);
  std::printf(
      "%d tokens (%d shared), %d targets: %.1f ms a step, %.0f tokens/s (%.0f unshared), "
      "%.1f GFLOP of dense products, %.1f GFLOP/s\n",
      batch.num_tokens, prefix, batch.num_targets, best * 1e3, batch.num_tokens / best,
      (batch.num_tokens + (sequences - 1) * prefix) / best, flops * 1e-9, flops / best * 1e-9);
  qlora_trainer_destroy(trainer);
  qlora_model_destroy(model);
  return 0;
}
