// Decoding rate of a random Llama through the C ABI: sequences behind a shared prefix.
//   generate_bench [small|8b] [sequences,…] [prefix] [prompt] [new tokens] [temperature] [top-p]
//   [threads]
// One line for each number of sequences.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "qlora.h"

namespace {

using Clock = std::chrono::steady_clock;

template <class Message>
void check(qlora_status status, const Message& message) {
  if (status == QLORA_OK) return;
  std::fprintf(stderr, "%s\n", message());
  std::exit(1);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Options {
  bool is_8b = false;
  std::vector<int> sequences = {1, 8, 64};
  int prefix = 100, prompt = 40, fresh = 60, threads = 0;
  double temperature = 0.7, top_p = 0.9;
};

Options read_options(int argc, char** argv) {
  Options options;
  const auto number = [&](int index, int otherwise) {
    return argc > index ? std::atoi(argv[index]) : otherwise;
  };
  options.is_8b = argc > 1 && std::strcmp(argv[1], "8b") == 0;
  if (argc > 2) {
    options.sequences.clear();
    for (const char* text = argv[2]; text != nullptr;) {
      options.sequences.push_back(std::atoi(text));
      text = std::strchr(text, ',');
      if (text != nullptr) ++text;
    }
  }
  options.prefix = number(3, options.is_8b ? 336 : 100);
  options.prompt = number(4, 40);
  options.fresh = number(5, options.is_8b ? 128 : 60);
  if (argc > 6) options.temperature = std::atof(argv[6]);
  if (argc > 7) options.top_p = std::atof(argv[7]);
  options.threads = number(8, 0);
  return options;
}

qlora_model_config model_config(const Options& options) {
  qlora_model_config config;
  qlora_model_config_default(&config);
  config.threads = options.threads;
  if (options.is_8b) return config;
  config.hidden_size = 256;
  config.intermediate_size = 704;
  config.num_layers = 6;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 32;
  config.vocab_size = 4096;
  config.max_position = 4096;
  config.tie_word_embeddings = 1;
  return config;
}

std::vector<int32_t> tokens(int count, int seed) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((seed * 131 + i * 17) % 4096);
  return ids;
}

// Prefill, then decode to the end. quiet: to warm up.
void run(qlora_model* model, const Options& options, int sequences, bool quiet) {
  char error[512] = "";
  qlora_generator* generator = nullptr;
  const auto of_generator = [&] { return qlora_generator_error(generator); };
  qlora_generator_config shape;
  qlora_generator_config_default(&shape);
  shape.max_sequences = sequences;
  shape.max_sequence_tokens = options.prompt + options.fresh;
  shape.max_prefix_tokens = options.prefix;
  check(qlora_generator_create(model, &shape, &generator, error, sizeof(error)),
        [&] { return static_cast<const char*>(error); });
  const Clock::time_point begin = Clock::now();
  if (options.prefix > 0) {
    check(qlora_generator_set_prefix(generator, tokens(options.prefix, 7).data(), options.prefix),
          of_generator);
  }
  const double prefix = seconds_since(begin);
  for (int i = 0; i < sequences; ++i) {
    qlora_sampling sampling;
    qlora_sampling_default(&sampling);
    sampling.max_new_tokens = options.fresh;
    sampling.temperature = options.temperature;
    sampling.top_p = options.top_p;
    sampling.repetition_penalty = 1.1;
    sampling.seed = static_cast<uint64_t>(i);
    int32_t id = 0;
    check(qlora_generator_add(generator, tokens(options.prompt, i).data(), options.prompt,
                              &sampling, &id),
          of_generator);
  }
  constexpr int kSteps = 16;  // a call
  std::vector<qlora_generated_token> out(size_t(sequences) * kSteps);
  int64_t total = 0, first = 0;
  double prefill = 0.0;
  int32_t live = 1;
  const Clock::time_point start = Clock::now();
  while (live > 0) {
    int64_t count = 0;
    check(qlora_generator_run(generator, total == 0 ? 1 : kSteps, out.data(), int64_t(out.size()),
                              &count, &live),
          of_generator);
    total += count;
    if (first == 0) {
      first = count;
      prefill = seconds_since(start);
    }
  }
  const double rate = static_cast<double>(total - first) / (seconds_since(start) - prefill);
  qlora_generator_destroy(generator);
  if (quiet) return;
  std::printf(
      "%4d sequences: prefix of %d %.1f ms, prompts of %d and first token %.1f ms (%.0f "
      "tokens/s), then %.0f tokens/s, %.3f ms a step\n",
      sequences, options.prefix, prefix * 1e3, options.prompt, prefill * 1e3,
      sequences * options.prompt / prefill, rate, 1e3 * sequences / rate);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  char error[512] = "";
  qlora_model* model = nullptr;
  const auto of_model = [&] { return qlora_model_error(model); };
  const qlora_model_config config = model_config(options);
  check(qlora_model_create(&config, &model, error, sizeof(error)),
        [&] { return static_cast<const char*>(error); });
  check(qlora_model_load_random(model, 1, 0.02), of_model);
  check(qlora_model_finalize(model), of_model);
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  check(qlora_model_attach_lora(model, &lora), of_model);
  for (const int sequences : options.sequences) {
    Options warm = options;
    warm.fresh = std::min(options.fresh, 8);
    run(model, warm, sequences, true);
    run(model, options, sequences, false);
  }
  qlora_model_destroy(model);
  return 0;
}
