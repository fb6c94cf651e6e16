// Decoding rate of a small random Llama through the C ABI: sequences behind a shared prefix.
//   generate_bench [threads] [sequences] [prefix] [prompt] [new tokens] [temperature] [top-p]
#include <chrono>
#include <cstdio>
#include <cstdlib>
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

int argument(int argc, char** argv, int index, int otherwise) {
  return argc > index ? std::atoi(argv[index]) : otherwise;
}

std::vector<int32_t> tokens(int count, int seed) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((seed * 131 + i * 17) % 4096);
  return ids;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argument(argc, argv, 1, 0), sequences = argument(argc, argv, 2, 32);
  const int prefix = argument(argc, argv, 3, 100), prompt = argument(argc, argv, 4, 40);
  const int fresh = argument(argc, argv, 5, 60);
  const double temperature = argc > 6 ? std::atof(argv[6]) : 0.7;
  const double top_p = argc > 7 ? std::atof(argv[7]) : 0.9;

  char error[512] = "";
  qlora_model* model = nullptr;
  qlora_generator* generator = nullptr;
  const auto text = [&] { return static_cast<const char*>(error); };
  const auto of_model = [&] { return qlora_model_error(model); };
  const auto of_generator = [&] { return qlora_generator_error(generator); };
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
  check(qlora_model_create(&config, &model, error, sizeof(error)), text);
  check(qlora_model_load_random(model, 1, 0.02), of_model);
  check(qlora_model_finalize(model), of_model);
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  check(qlora_model_attach_lora(model, &lora), of_model);

  qlora_generator_config shape;
  qlora_generator_config_default(&shape);
  shape.max_sequences = sequences;
  shape.max_sequence_tokens = prompt + fresh;
  shape.max_prefix_tokens = prefix;
  check(qlora_generator_create(model, &shape, &generator, error, sizeof(error)), text);
  if (prefix > 0) {
    check(qlora_generator_set_prefix(generator, tokens(prefix, 7).data(), prefix), of_generator);
  }
  for (int i = 0; i < sequences; ++i) {
    qlora_sampling sampling;
    qlora_sampling_default(&sampling);
    sampling.max_new_tokens = fresh;
    sampling.temperature = temperature;
    sampling.top_p = top_p;
    sampling.repetition_penalty = 1.1;
    sampling.seed = static_cast<uint64_t>(i);
    int32_t id = 0;
    check(qlora_generator_add(generator, tokens(prompt, i).data(), prompt, &sampling, &id),
          of_generator);
  }
  std::vector<qlora_generated_token> out(size_t(sequences) * 4);
  int64_t total = 0, first = 0;
  double prefill = 0.0;
  int32_t live = 1;
  const Clock::time_point start = Clock::now();
  while (live > 0) {
    int64_t count = 0;
    check(qlora_generator_run(generator, total == 0 ? 1 : 4, out.data(), int64_t(out.size()),
                              &count, &live),
          of_generator);
    total += count;
    if (first == 0) {
      first = count;
      prefill = std::chrono::duration<double>(Clock::now() - start).count();
    }
  }
  const double all = std::chrono::duration<double>(Clock::now() - start).count();
  std::printf(
      "%d sequences, prefix %d, prompt %d: prefill and first token %.1f ms (%.0f tokens/s), "
      "then %.0f tokens/s\n",
      sequences, prefix, prompt, prefill * 1e3, sequences * prompt / prefill,
      static_cast<double>(total - first) / (all - prefill));
  qlora_generator_destroy(generator);
  qlora_model_destroy(model);
  return 0;
}
