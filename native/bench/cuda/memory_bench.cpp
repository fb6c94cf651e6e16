// What training the 8B shape takes of a GPU's memory, beside what the plan said: random weights,
// LoRA r 16 on all linears unless stated. Peaks are the driver's own figures, before the context
// exists against the most in use during the steps.
//   qlora_cuda_memory_bench [filter]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "driver_memory.h"
#include "qlora.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kEverything = QLORA_HOST_EMBEDDINGS | QLORA_HOST_HEAD | QLORA_HOST_OPTIMIZER;

struct Setting {
  const char* name;
  double budget_gb;
  int tokens, prefix, length;  // of a micro-batch; of the shared prefix; of each sequence
  int rank, modules, host;
  int recompute;
};

const Setting kSettings[] = {
    {"2x512", 0, 1024, 0, 512, 16, 127, QLORA_HOST_EMBEDDINGS | QLORA_HOST_OPTIMIZER,
     QLORA_RECOMPUTE_FULL},
    {"2x512 head on host", 0, 1024, 0, 512, 16, 127, kEverything, QLORA_RECOMPUTE_FULL},
    {"1x512 within 5.2 GB", 5.2, 512, 0, 512, 16, 127, kEverything, QLORA_RECOMPUTE_AUTO},
    {"1x512 q,k,v,o within 5 GB", 5.0, 512, 0, 512, 16, 15, kEverything, QLORA_RECOMPUTE_AUTO},
    {"step within 12 GB", 12, 5776, 336, 170, 16, 127, QLORA_HOST_EMBEDDINGS, QLORA_RECOMPUTE_AUTO},
    {"half a step within 12 GB", 12, 3056, 336, 170, 16, 127, QLORA_HOST_EMBEDDINGS,
     QLORA_RECOMPUTE_AUTO},
    {"step within 12 GB, head on host", 12, 5776, 336, 170, 16, 127, kEverything,
     QLORA_RECOMPUTE_AUTO},
    {"step within 24 GB", 24, 5776, 336, 170, 16, 127, 0, QLORA_RECOMPUTE_AUTO},
    {"step, all memory", 0, 5776, 336, 170, 16, 127, 0, QLORA_RECOMPUTE_AUTO},
};

void check(qlora_status status, const char* message) {
  if (status == QLORA_OK) return;
  std::fprintf(stderr, "%s\n", message);
  std::exit(1);
}

struct Batch {
  std::vector<int32_t> ids, cu, rows, targets;
  qlora_batch view{};
};

Batch make_batch(const Setting& s, int vocabulary) {
  Batch b;
  b.cu.push_back(s.prefix);
  while (static_cast<int>(b.ids.size()) < s.tokens) {
    const int i = static_cast<int>(b.ids.size());
    if (i > s.prefix && (i - s.prefix) % s.length == 0) b.cu.push_back(i);
    if (i > s.prefix && (i - s.prefix) % s.length > s.length * 2 / 5) {
      b.rows.push_back(i - 1);
      b.targets.push_back(i * 7919 % vocabulary);
    }
    b.ids.push_back(i * 104729 % vocabulary);
  }
  b.cu.push_back(s.tokens);
  b.view.struct_size = sizeof b.view;
  b.view.num_tokens = s.tokens;
  b.view.num_sequences = static_cast<int32_t>(b.cu.size()) - 1;
  b.view.prefix_length = s.prefix;
  b.view.num_targets = static_cast<int32_t>(b.rows.size());
  b.view.token_ids = b.ids.data();
  b.view.cu_seqlens = b.cu.data();
  b.view.target_rows = b.rows.data();
  b.view.target_ids = b.targets.data();
  return b;
}

double gb(int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

void print_plan(const qlora_memory_report& m) {
  std::printf(
      "  base %.3f, embeddings %.3f, constants %.3f, LoRA %.3f, optimiser %.3f, activations %.3f, "
      "workspace %.3f, context %.3f GB; host %.3f GB; %d layers kept, %d whole%s\n",
      gb(m.base), gb(m.embeddings), gb(m.constants), gb(m.lora), gb(m.optimizer), gb(m.activations),
      gb(m.workspace), gb(m.context), gb(m.host), m.kept_layers, m.whole_layers,
      m.resident != 0 ? ", weights resident" : "");
}

void run(const Setting& s, int64_t used_before) {
  char error[1024] = "";
  qlora_model_config config;
  qlora_model_config_default(&config);
  config.host_memory = s.host;
  config.memory_budget = static_cast<int64_t>(s.budget_gb * 1e9);
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  lora.rank = s.rank;
  lora.target_modules = s.modules;
  const Batch batch = make_batch(s, config.vocab_size);
  qlora_train_config train;
  qlora_train_config_default(&train);
  train.max_tokens = s.tokens;
  train.max_sequences = batch.view.num_sequences;
  train.max_targets = s.tokens;
  train.recompute = s.recompute;
  qlora_memory_report plan{};
  plan.struct_size = sizeof plan;
  const qlora_status fits = qlora_plan_training(&config, &lora, &train, &plan, error, sizeof error);
  if (fits == QLORA_ERROR_OUT_OF_MEMORY) {
    std::printf("%-34s refused: %s\n", s.name, error);
    return;
  }
  check(fits, error);

  qlora_model* model = nullptr;
  qlora_trainer* trainer = nullptr;
  check(qlora_model_create(&config, &model, error, sizeof error), error);
  check(qlora_model_load_random(model, 1, 0.02), qlora_model_error(model));
  check(qlora_model_finalize(model), qlora_model_error(model));
  check(qlora_model_attach_lora(model, &lora), qlora_model_error(model));
  check(qlora_trainer_create(model, &train, &trainer, error, sizeof error), error);
  qlora_batch_result result{};
  result.struct_size = sizeof result;
  qlora_step_result step{};
  step.struct_size = sizeof step;
  std::vector<float> nll(batch.targets.size());
  double best = 1e9;
  double best_update = 1e9;
  int64_t most = 0;
  const auto sample = [&] {
    const int64_t used = qlora::cuda::driver_used_bytes(config.device);
    if (used > most) most = used;
  };
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point start = Clock::now();
    check(qlora_trainer_accumulate(trainer, &batch.view, nullptr, &result),
          qlora_trainer_error(trainer));
    const Clock::time_point middle = Clock::now();
    sample();
    const Clock::time_point update = Clock::now();
    check(qlora_trainer_step(trainer, 1e-4, &step), qlora_trainer_error(trainer));
    const Clock::time_point end = Clock::now();
    best = std::min(best, std::chrono::duration<double>(middle - start).count());
    best_update = std::min(best_update, std::chrono::duration<double>(end - update).count());
  }
  check(qlora_model_evaluate(model, &batch.view, nll.data()), qlora_model_error(model));
  sample();
  const int64_t peak = most - used_before;
  std::printf(
      "%-34s planned %.3f GB, measured %.3f GB (%+.1f %%); micro-batch %.1f ms, %.0f "
      "tokens/s, update %.1f ms, loss %.4f\n",
      s.name, gb(plan.total), gb(peak), 100.0 * (double(peak) / double(plan.total) - 1.0),
      best * 1e3, s.tokens / best, best_update * 1e3, step.loss);
  print_plan(plan);
  std::fflush(stdout);
  qlora_trainer_destroy(trainer);
  qlora_model_destroy(model);
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t before = qlora::cuda::driver_used_bytes(0);
  if (before < 0) {
    std::fprintf(stderr, "the driver's management library (NVML) does not answer: no peaks\n");
    return 1;
  }
  std::printf("in use by others: %.3f GB\n", gb(before));
  for (const Setting& setting : kSettings) {
    if (argc > 1 && std::strstr(setting.name, argv[1]) == nullptr) continue;
    run(setting, before);
  }
  return 0;
}
