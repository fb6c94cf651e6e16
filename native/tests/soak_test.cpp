// Long runs and whole small models: no memory lost over many steps, tokens and models; every kernel
// of training and generation at head sizes of real models, for the sanitizers; one run as a digest,
// to compare two processes.
#include <cstdio>

#include "fixture.h"

using fixture::Samples;

namespace {

// What distinguishes the small models: each takes other kernels.
struct Shape {
  const char* name;
  int heads, kv_heads, head_dim, quantization;
  bool bias, norm, tied;
};
constexpr Shape kShapes[] = {
    {"head_dim 128, GQA 4, NF4 double", 4, 1, 128, QLORA_QUANTIZATION_NF4_DOUBLE, false, false,
     false},
    {"head_dim 64, bias, NF4, tied", 4, 2, 64, QLORA_QUANTIZATION_NF4, true, false, true},
    {"head_dim 80, head norm, plain", 3, 3, 80, QLORA_QUANTIZATION_NONE, false, true, false},
};

qlora_model_config config_of(const Shape& shape) {
  qlora_model_config c;
  qlora_model_config_default(&c);
  c.hidden_size = 256;
  c.intermediate_size = 384;
  c.num_layers = 2;
  c.num_heads = shape.heads;
  c.num_kv_heads = shape.kv_heads;
  c.head_dim = shape.head_dim;
  c.vocab_size = 1003;
  c.max_position = 1024;
  c.tie_word_embeddings = shape.tied ? 1 : 0;
  c.qkv_bias = shape.bias ? 1 : 0;
  c.qk_norm = shape.norm ? 1 : 0;
  c.quantization = shape.quantization;
  c.threads = 2;
  return c;
}

fixture::Model make_model(const Shape& shape) {
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  lora.dropout = 0.1;
  lora.seed = 3;
  return fixture::make_random_model(config_of(shape), lora, 0.05);
}

int32_t token(int64_t i) { return static_cast<int32_t>((i * 7919 + i / 13 * 31) % 1003); }

std::vector<int32_t> tokens(int64_t from, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(token(from + i));
  return ids;
}

// Every second half of a sample is its target, and its first token.
Samples samples_of(int64_t prefix, const std::vector<int64_t>& lengths, int64_t seed) {
  Samples s;
  s.prefix = tokens(seed, prefix);
  for (const int64_t length : lengths) {
    const int32_t index = static_cast<int32_t>(s.samples.size());
    s.samples.push_back(tokens(seed + 1000 * (index + 1), length));
    s.keys.push_back(index);
    const int32_t first = static_cast<int32_t>(prefix);
    if (prefix > 0) s.targets.push_back({index, first, 1.0f});
    for (int64_t i = length / 2 + 1; i < length; ++i) {
      s.targets.push_back({index, first + static_cast<int32_t>(i), 1.0f});
    }
  }
  return s;
}

qlora_memory_report memory_of(qlora_model* model) {
  qlora_memory_report report{};
  report.struct_size = sizeof report;
  fixture::check(qlora_model_memory(model, &report), qlora_model_error(model));
  return report;
}

fixture::Generator make_generator(qlora_model* model, int sequences, int prefix) {
  qlora_generator_config config;
  qlora_generator_config_default(&config);
  config.max_sequences = sequences;
  config.max_sequence_tokens = 64;
  config.max_prefix_tokens = prefix;
  qlora_generator* raw = nullptr;
  char error[512] = "";
  fixture::check(qlora_generator_create(model, &config, &raw, error, sizeof error), error);
  return fixture::Generator(raw);
}

int32_t add(qlora_generator* generator, const std::vector<int32_t>& prompt, int new_tokens,
            uint64_t seed) {
  qlora_sampling sampling;
  qlora_sampling_default(&sampling);
  sampling.max_new_tokens = new_tokens;
  sampling.temperature = seed == 0 ? 0.0 : 0.9;
  sampling.top_k = seed % 2 == 0 ? 0 : 50;
  sampling.repetition_penalty = 1.1;
  sampling.seed = seed;
  int32_t id = -1;
  fixture::check(qlora_generator_add(generator, prompt.data(), static_cast<int32_t>(prompt.size()),
                                     &sampling, &id),
                 qlora_generator_error(generator));
  return id;
}

// One call; returns how many sequences are live and appends what was made.
int32_t run(qlora_generator* generator, int steps, std::vector<float>& made) {
  std::vector<qlora_generated_token> tokens(4096);
  int64_t count = 0;
  int32_t live = 0;
  fixture::check(qlora_generator_run(generator, steps, tokens.data(),
                                     static_cast<int64_t>(tokens.size()), &count, &live),
                 qlora_generator_error(generator));
  for (int64_t i = 0; i < count; ++i) {
    made.push_back(static_cast<float>(tokens[static_cast<size_t>(i)].token));
    made.push_back(tokens[static_cast<size_t>(i)].logprob);
  }
  return live;
}

// Everything a small model does, once: training with and without recompute, evaluation, generation
// of one and of several sequences. All numbers that come out.
std::vector<float> life_of(const Shape& shape, int recompute) {
  const fixture::Model model = make_model(shape);
  std::vector<float> out;
  {
    fixture::TrainOptions options;
    options.max_tokens = 512;
    options.recompute = recompute;
    const fixture::Trainer trainer = fixture::make_trainer(model.get(), options);
    for (int step = 0; step < 3; ++step) {
      fixture::accumulate(trainer.get(), samples_of(70, {1, 33, 64, 100}, step), true);
      fixture::accumulate(trainer.get(), samples_of(0, {129, 5}, step), true);
      const qlora_step_result result = fixture::step(trainer.get(), 1e-3);
      out.push_back(static_cast<float>(result.loss));
      out.push_back(static_cast<float>(result.grad_norm));
    }
  }
  for (const float nll : fixture::evaluate(model.get(), samples_of(70, {17, 80}, 9), true)) {
    out.push_back(nll);
  }
  const fixture::Generator generator = make_generator(model.get(), 5, 70);
  const std::vector<int32_t> prefix = tokens(4, 70);
  fixture::check(qlora_generator_set_prefix(generator.get(), prefix.data(), 70),
                 qlora_generator_error(generator.get()));
  add(generator.get(), tokens(11, 9), 6, 0);
  run(generator.get(), 2, out);
  for (uint64_t i = 1; i < 5; ++i) {
    add(generator.get(), tokens(static_cast<int64_t>(20 * i), static_cast<int64_t>(8 * i)), 4, i);
  }
  while (run(generator.get(), 3, out) > 0) {
  }
  return out;
}

void expect_a_whole_life(const Shape& shape) {
  const std::vector<float> once = life_of(shape, QLORA_RECOMPUTE_NONE);
  EXPECT(op_test::same_bits(once, life_of(shape, QLORA_RECOMPUTE_FULL)), shape.name);
  // Random weights predict next to nothing, about log V.
  EXPECT(std::abs(once[0] - std::log(1003.0f)) < 1, std::to_string(once[0]));
  for (const float value : once) EXPECT(std::isfinite(value), shape.name);
}

}  // namespace

// One shape a test: the sanitizers take minutes for each.
OP_TEST(a_small_model_of_head_dim_128) { expect_a_whole_life(kShapes[0]); }
OP_TEST(a_small_model_of_head_dim_64) { expect_a_whole_life(kShapes[1]); }
OP_TEST(a_small_model_of_head_dim_80) { expect_a_whole_life(kShapes[2]); }

// Lengths change from step to step, over more products than the plans kept for them (gemm.cpp):
// after one round of all lengths nothing may be allocated that was not there before.
OP_TEST(steps_take_no_more_memory) {
  const int rounds = 4;
  const int64_t lengths = fixture::kBf16 ? 250 : 8;
  const fixture::Model model = make_model(kShapes[0]);
  fixture::TrainOptions options;
  options.max_tokens = 1024;
  const fixture::Trainer trainer = fixture::make_trainer(model.get(), options);
  qlora_memory_report after_one{};
  double first_loss = 0;
  double last_loss = 0;
  for (int round = 0; round < rounds; ++round) {
    for (int64_t i = 0; i < lengths; ++i) {
      const int64_t length = 2 + (i * 37) % 250;
      fixture::accumulate(trainer.get(), samples_of(i % 3 * 40, {length, 20}, i % 5), true);
      last_loss = fixture::step(trainer.get(), 1e-3).loss;
      if (round == 0 && i == 0) first_loss = last_loss;
    }
    if (round == 0) after_one = memory_of(model.get());
  }
  const qlora_memory_report after = memory_of(model.get());
  EXPECT(after.total == after_one.total, "of the report");
  if (fixture::kBf16) {
    EXPECT(after.device_free >= after_one.device_free,
           "bytes of the GPU: " + std::to_string(after_one.device_free - after.device_free));
  }
  EXPECT(last_loss < first_loss, "it learns: " + std::to_string(last_loss));
}

OP_TEST(generated_tokens_take_no_more_memory) {
  const int rounds = 4;
  const fixture::Model model = make_model(kShapes[0]);
  const fixture::Generator generator = make_generator(model.get(), 9, 70);
  qlora_memory_report after_one{};
  size_t tokens_made = 0;
  for (int round = 0; round < rounds; ++round) {
    for (int prefix = 0; prefix < 3; ++prefix) {
      const std::vector<int32_t> ids = tokens(prefix, 35 * prefix);
      fixture::check(qlora_generator_set_prefix(generator.get(), ids.data(), 35 * prefix),
                     qlora_generator_error(generator.get()));
      std::vector<float> made;
      for (uint64_t i = 0; i < (fixture::kBf16 ? 27u : 12u); ++i) {
        if (i >= 9) run(generator.get(), 9, made);  // the oldest ends, the next takes its place
        add(generator.get(), tokens(static_cast<int64_t>(i), 1 + static_cast<int64_t>(i)),
            2 + static_cast<int>(i) % 7, i);
      }
      while (run(generator.get(), 4, made) > 0) {
      }
      tokens_made += made.size() / 2;
    }
    if (round == 0) after_one = memory_of(model.get());
  }
  const qlora_memory_report after = memory_of(model.get());
  EXPECT(after.total == after_one.total, "of the report");
  if (fixture::kBf16) {
    EXPECT(tokens_made > 1000, std::to_string(tokens_made));
    EXPECT(after.device_free >= after_one.device_free,
           "bytes of the GPU: " + std::to_string(after_one.device_free - after.device_free));
  }
}

OP_TEST(models_that_come_and_go_leave_no_memory) {
  const fixture::Model witness = make_model(kShapes[1]);
  int64_t free_after_first = 0;
  for (int i = 0; i < (fixture::kBf16 ? 6 : 2); ++i) {
    life_of(kShapes[0], QLORA_RECOMPUTE_AUTO);
    const int64_t free_bytes = memory_of(witness.get()).device_free;
    if (i == 0) free_after_first = free_bytes;
    if (fixture::kBf16) {
      EXPECT(free_bytes >= free_after_first, std::to_string(free_after_first - free_bytes));
    }
  }
}

// Prints what a run came to; two processes must print the same line.
OP_TEST(digest_of_a_run) {
  uint64_t digest = 14695981039346656037u;  // FNV-1a
  for (const Shape& shape : kShapes) {
    for (const float value : life_of(shape, QLORA_RECOMPUTE_FULL)) {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      digest = (digest ^ bits) * 1099511628211u;
    }
  }
  std::printf("digest %016llx\n", static_cast<unsigned long long>(digest));
}
