// Generation: the caches, continuous batching, what a sequence's tokens may depend on.
#include <algorithm>
#include <cmath>
#include <map>

#include "fixture.h"

namespace {

const char* const kCases[] = {"mha_untied",     "gqa2_tied_llama3", "gqa4_one_sample",
                              "qwen2_bias_nf4", "qwen3_norm",       "llama_nf4_double"};

qlora_sampling greedy(int max_new_tokens) {
  qlora_sampling s;
  qlora_sampling_default(&s);
  s.temperature = 0;
  s.top_p = 1;
  s.max_new_tokens = max_new_tokens;
  return s;
}

qlora_sampling warm(int max_new_tokens, uint64_t seed) {
  qlora_sampling s = greedy(max_new_tokens);
  s.temperature = 1.3;
  s.top_p = 0.95;
  s.seed = seed;
  return s;
}

fixture::Generator make_generator(qlora_model* model, int sequences = 4, int tokens = 40,
                                  int prefix = 20) {
  qlora_generator_config config;
  qlora_generator_config_default(&config);
  config.max_sequences = sequences;
  config.max_sequence_tokens = tokens;
  config.max_prefix_tokens = prefix;
  qlora_generator* raw = nullptr;
  char error[256] = "";
  fixture::check(qlora_generator_create(model, &config, &raw, error, sizeof error), error);
  return fixture::Generator(raw);
}

void set_prefix(qlora_generator* g, const std::vector<int32_t>& prefix) {
  fixture::check(qlora_generator_set_prefix(g, prefix.data(), static_cast<int32_t>(prefix.size())),
                 qlora_generator_error(g));
}

qlora_status try_add(qlora_generator* g, const std::vector<int32_t>& prompt,
                     const qlora_sampling& sampling, int32_t* id) {
  return qlora_generator_add(g, prompt.data(), static_cast<int32_t>(prompt.size()), &sampling, id);
}

int32_t add(qlora_generator* g, const std::vector<int32_t>& prompt,
            const qlora_sampling& sampling) {
  int32_t id = -1;
  fixture::check(try_add(g, prompt, sampling, &id), qlora_generator_error(g));
  return id;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  int32_t finish = QLORA_FINISH_NONE;
};
using Answers = std::map<int32_t, Answer>;

bool same(const Answer& a, const Answer& b) {
  return a.tokens == b.tokens && op_test::same_bits(a.logprobs, b.logprobs) && a.finish == b.finish;
}

// One call; returns the sequences still live.
int32_t run(qlora_generator* g, Answers& answers, int steps, int64_t capacity = 512,
            qlora_status expected = QLORA_OK) {
  std::vector<qlora_generated_token> tokens(static_cast<size_t>(capacity));
  int64_t count = -1;
  int32_t live = -1;
  const qlora_status status = qlora_generator_run(g, steps, tokens.data(), capacity, &count, &live);
  if (status != expected) fixture::check(status, qlora_generator_error(g));
  EXPECT(status == expected, std::to_string(status));
  for (int64_t i = 0; i < count; ++i) {
    const qlora_generated_token& t = tokens[static_cast<size_t>(i)];
    Answer& answer = answers[t.sequence];
    EXPECT(answer.finish == QLORA_FINISH_NONE, "a token after the end");
    answer.tokens.push_back(t.token);
    answer.logprobs.push_back(t.logprob);
    answer.finish = t.finish;
  }
  return live;
}

Answer answer_alone(qlora_model* model, const std::vector<int32_t>& prefix,
                    const std::vector<int32_t>& prompt, const qlora_sampling& sampling) {
  const fixture::Generator g = make_generator(model, 1);
  set_prefix(g.get(), prefix);
  const int32_t id = add(g.get(), prompt, sampling);
  Answers answers;
  while (run(g.get(), answers, 3) > 0) {
  }
  return answers[id];
}

// Logits after the last of the tokens, by the training graph.
std::vector<float> last_logits(qlora_model* model, const std::vector<int32_t>& tokens,
                               int64_t vocabulary) {
  qlora_batch batch{};
  batch.struct_size = sizeof batch;
  const int32_t n = static_cast<int32_t>(tokens.size());
  const int32_t cu[2] = {0, n};
  const int32_t row = n - 1;
  const int32_t id = 0;
  batch.num_tokens = n;
  batch.num_sequences = 1;
  batch.num_targets = 1;
  batch.token_ids = tokens.data();
  batch.cu_seqlens = cu;
  batch.target_rows = &row;
  batch.target_ids = &id;
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  fixture::check(qlora_model_logits(model, &batch, logits.data()), qlora_model_error(model));
  return logits;
}

double log_softmax(const std::vector<float>& logits, int32_t id) {
  double sum = 0;
  for (const float z : logits) sum += std::exp(static_cast<double>(z));
  return static_cast<double>(logits[static_cast<size_t>(id)]) - std::log(sum);
}

// How far two computations of one log-probability may be apart: in bf16, two times (two values)
// twice naive bf16's error of a logit.
double logprob_tolerance(const golden::Case& c, const std::vector<float>& logits) {
  if (!fixture::kBf16) return 2e-5;
  double square = 0;
  for (const float z : logits) square += static_cast<double>(z) * static_cast<double>(z);
  return 4 * c.naive_error("logits") * std::sqrt(square / static_cast<double>(logits.size()));
}

// Two greedy answers to the same tokens. In bf16 they may part where the two best logits are as
// near to each other as rounding; what follows then has nothing to compare.
void expect_same_greedy(const golden::Case& c, qlora_model* model, std::vector<int32_t> tokens,
                        const Answer& a, const Answer& b) {
  EXPECT(a.tokens.size() == b.tokens.size() && !a.tokens.empty(), c.name);
  for (size_t i = 0; i < std::min(a.tokens.size(), b.tokens.size()); ++i) {
    const std::vector<float> logits = last_logits(model, tokens, 80);
    const double tolerance = logprob_tolerance(c, logits);
    if (a.tokens[i] != b.tokens[i]) {
      const float gap =
          logits[static_cast<size_t>(a.tokens[i])] - logits[static_cast<size_t>(b.tokens[i])];
      EXPECT(fixture::kBf16 && std::abs(static_cast<double>(gap)) <= tolerance,
             c.name + " token " + std::to_string(i));
      return;
    }
    const double apart = std::abs(static_cast<double>(a.logprobs[i] - b.logprobs[i]));
    EXPECT(apart <= tolerance, c.name + " log-probability " + std::to_string(i));
    tokens.push_back(a.tokens[i]);
  }
}

// The token has the highest of these logits; in bf16 up to rounding.
bool is_highest(const golden::Case& c, const std::vector<float>& logits, int32_t token) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (token == static_cast<int32_t>(best - logits.begin())) return true;
  return fixture::kBf16 && static_cast<double>(*best - logits[static_cast<size_t>(token)]) <=
                               logprob_tolerance(c, logits);
}

std::vector<int32_t> join(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  std::vector<int32_t> all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

const std::vector<int32_t> kPrefix = {3, 14, 15, 9, 26, 5, 35};
const std::vector<int32_t> kPrompts[] = {{8, 9, 7}, {79}, {32, 38, 46, 26, 43, 38}, {2, 71, 8, 28}};

}  // namespace

OP_TEST(greedy_takes_the_highest_logit_of_the_training_graph) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    const fixture::Model model = fixture::make_model(c);
    const Answer answer = answer_alone(model.get(), kPrefix, kPrompts[0], greedy(12));
    EXPECT(answer.tokens.size() == 12 && answer.finish == QLORA_FINISH_LENGTH, name);
    std::vector<int32_t> tokens = join(kPrefix, kPrompts[0]);
    for (size_t i = 0; i < answer.tokens.size(); ++i) {
      const std::vector<float> logits = last_logits(model.get(), tokens, 80);
      EXPECT(is_highest(c, logits, answer.tokens[i]),
             std::string(name) + " token " + std::to_string(i));
      EXPECT(std::abs(log_softmax(logits, answer.tokens[i]) -
                      static_cast<double>(answer.logprobs[i])) < logprob_tolerance(c, logits),
             name);
      tokens.push_back(answer.tokens[i]);
    }
  }
}

OP_TEST(a_prefix_is_part_of_the_prompt) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    const fixture::Model model = fixture::make_model(c);
    const Answer with = answer_alone(model.get(), kPrefix, kPrompts[2], greedy(10));
    const Answer without = answer_alone(model.get(), {}, join(kPrefix, kPrompts[2]), greedy(10));
    expect_same_greedy(c, model.get(), join(kPrefix, kPrompts[2]), with, without);
  }
}

OP_TEST(batched_is_alone_bit_for_bit) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    const fixture::Model model = fixture::make_model(c);
    const fixture::Generator g = make_generator(model.get());
    set_prefix(g.get(), kPrefix);
    Answers answers;
    std::vector<int32_t> ids;
    // Two at once, the others while those are live.
    for (int i = 0; i < 4; ++i) {
      ids.push_back(add(g.get(), kPrompts[i], warm(8 + i, static_cast<uint64_t>(40 + i))));
      if (i > 0) run(g.get(), answers, i);
    }
    while (run(g.get(), answers, 5) > 0) {
    }
    for (int i = 0; i < 4; ++i) {
      const Answer alone = answer_alone(model.get(), kPrefix, kPrompts[i],
                                        warm(8 + i, static_cast<uint64_t>(40 + i)));
      EXPECT(same(answers[ids[static_cast<size_t>(i)]], alone), std::string(name));
    }
    const Answer other = answer_alone(model.get(), kPrefix, kPrompts[0], warm(8, 41));
    EXPECT(!same(answers[ids[0]], other), "another seed, another answer");
  }
}

// Several steps may be queued before the host looks: stops, lengths and the room for tokens must
// come out as if it looked after each.
OP_TEST(steps_of_a_call_change_no_answer) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  const Answer free = answer_alone(model.get(), kPrefix, kPrompts[0], greedy(12));
  const auto answers_of = [&](int steps, int64_t capacity) {
    const fixture::Generator g = make_generator(model.get(), 7, 20);
    set_prefix(g.get(), kPrefix);
    for (int i = 0; i < 6; ++i) {
      qlora_sampling sampling = warm(i == 5 ? 100 : 3 + 2 * i, static_cast<uint64_t>(i));
      if (i % 2 == 0) sampling.repetition_penalty = 1.4;
      if (i == 2) {
        sampling = greedy(15);
        sampling.num_stop_ids = 1;
        sampling.stop_ids = &free.tokens[5];
      }
      add(g.get(), kPrompts[i == 2 ? 0 : i % 4], sampling);
    }
    Answers answers;
    for (int calls = 0; run(g.get(), answers, steps, capacity) > 0; ++calls) {
      EXPECT(calls < 100, "it ends");
    }
    return answers;
  };
  const Answers one = answers_of(1, 512);
  EXPECT(one.at(2).finish == QLORA_FINISH_STOP, "a sequence stops among steps");
  for (const auto& [steps, capacity] : {std::pair<int, int64_t>{100, 512}, {5, 512}, {100, 13}}) {
    const Answers more = answers_of(steps, capacity);
    EXPECT(more.size() == one.size(), "sequences");
    for (const auto& [id, answer] : more) {
      EXPECT(same(answer, one.at(id)),
             std::to_string(steps) + " steps: sequence " + std::to_string(id));
    }
  }
}

OP_TEST(long_prompts_are_prefilled_in_pieces) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  // 40 prompts of 30 tokens: 1,200 rows, more than one pass takes.
  const fixture::Generator g = make_generator(model.get(), 40, 34);
  set_prefix(g.get(), kPrefix);
  std::vector<std::vector<int32_t>> prompts;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) {
    std::vector<int32_t> prompt;
    for (int32_t k = 0; k < 30; ++k) prompt.push_back((i * 31 + k * k) % 80);
    prompts.push_back(prompt);
    ids.push_back(add(g.get(), prompt, greedy(3)));
  }
  Answers answers;
  EXPECT(run(g.get(), answers, 10) == 0, "all end");
  for (const size_t i : {size_t{0}, size_t{33}, size_t{34}, size_t{39}}) {
    EXPECT(same(answers[ids[i]], answer_alone(model.get(), kPrefix, prompts[i], greedy(3))),
           std::to_string(i));
  }
}

// Prefix and prompt each longer than a pass: pieces see what came before them through the caches.
OP_TEST(a_prompt_longer_than_a_pass) {
  const golden::Case c("gqa2_tied_llama3");
  qlora_model_config config = fixture::config_of(c);
  config.max_position = 4096;
  const fixture::Model model = fixture::make_random_model(config, fixture::lora_of(c));
  std::vector<int32_t> prefix, prompt;
  for (int32_t i = 0; i < 1100; ++i) prefix.push_back((i * 7 + i * i % 13) % 80);
  for (int32_t i = 0; i < 1050; ++i) prompt.push_back((i * 11 + i * i % 17) % 80);
  const fixture::Generator g = make_generator(model.get(), 2, 1060, 1100);
  set_prefix(g.get(), prefix);
  const int32_t other = add(g.get(), kPrompts[0], greedy(4));
  const int32_t id = add(g.get(), prompt, greedy(4));
  Answers answers;
  EXPECT(run(g.get(), answers, 10) == 0, "all end");
  std::vector<int32_t> tokens = join(prefix, prompt);
  for (size_t i = 0; i < answers[id].tokens.size(); ++i) {
    const std::vector<float> logits = last_logits(model.get(), tokens, 80);
    EXPECT(is_highest(c, logits, answers[id].tokens[i]), "token " + std::to_string(i));
    EXPECT(std::abs(log_softmax(logits, answers[id].tokens[i]) -
                    static_cast<double>(answers[id].logprobs[i])) < logprob_tolerance(c, logits),
           "log-probability " + std::to_string(i));
    tokens.push_back(answers[id].tokens[i]);
  }
  EXPECT(answers[other].tokens.size() == 4, "its neighbour");
}

OP_TEST(sequences_end) {
  const golden::Case c("mha_untied");
  const fixture::Model model = fixture::make_model(c);
  const Answer free = answer_alone(model.get(), {}, kPrompts[0], greedy(10));
  // A stop id is emitted, then the sequence ends.
  qlora_sampling stopping = greedy(10);
  const int32_t stop = free.tokens[2];
  const int32_t stops[2] = {999, stop};
  stopping.num_stop_ids = 2;
  stopping.stop_ids = stops;
  const Answer stopped = answer_alone(model.get(), {}, kPrompts[0], stopping);
  const auto first = std::find(free.tokens.begin(), free.tokens.end(), stop);
  EXPECT(stopped.finish == QLORA_FINISH_STOP, "finish");
  EXPECT(stopped.tokens == std::vector<int32_t>(free.tokens.begin(), first + 1), "tokens");
  // A slot is full when prompt and answer have max_sequence_tokens.
  const fixture::Generator g = make_generator(model.get(), 2, 7);
  const int32_t id = add(g.get(), kPrompts[0], greedy(100));
  const int32_t removed = add(g.get(), kPrompts[1], greedy(100));
  Answers answers;
  run(g.get(), answers, 1);
  fixture::check(qlora_generator_remove(g.get(), removed), qlora_generator_error(g.get()));
  EXPECT(qlora_generator_remove(g.get(), removed) == QLORA_ERROR_INVALID_ARGUMENT, "twice");
  EXPECT(run(g.get(), answers, 100) == 0, "live");
  EXPECT(answers[id].tokens.size() == 4 && answers[id].finish == QLORA_FINISH_LENGTH, "length");
  EXPECT(answers[removed].tokens.size() == 1, "removed");
  EXPECT(std::equal(answers[id].tokens.begin(), answers[id].tokens.end(), free.tokens.begin()), "");
  EXPECT(run(g.get(), answers, 5) == 0, "nothing to do");
}

OP_TEST(repetition_penalty_covers_prefix_prompt_and_answer) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  qlora_sampling sampling = greedy(8);
  sampling.repetition_penalty = 1.8;
  const Answer answer = answer_alone(model.get(), kPrefix, kPrompts[0], sampling);
  std::vector<int32_t> tokens = join(kPrefix, kPrompts[0]);
  for (const int32_t token : answer.tokens) {
    std::vector<float> logits = last_logits(model.get(), tokens, 80);
    for (int32_t id = 0; id < 80; ++id) {
      if (std::find(tokens.begin(), tokens.end(), id) == tokens.end()) continue;
      float& z = logits[static_cast<size_t>(id)];
      z = z > 0 ? z / 1.8f : z * 1.8f;
    }
    EXPECT(is_highest(c, logits, token), std::to_string(token));
    tokens.push_back(token);
  }
}

OP_TEST(a_cancelled_run_goes_on_where_it_stopped) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  const fixture::Generator g = make_generator(model.get());
  set_prefix(g.get(), kPrefix);
  int32_t flag = 0;
  fixture::check(qlora_model_set_cancel_flag(model.get(), &flag), "flag");
  const int32_t id = add(g.get(), kPrompts[0], warm(9, 1));
  Answers answers;
  flag = 1;
  EXPECT(run(g.get(), answers, 5, 64, QLORA_ERROR_CANCELLED) == 1, "still live");
  EXPECT(answers.empty(), "cancelled in the prefill");
  flag = 0;
  run(g.get(), answers, 4);
  flag = 1;
  run(g.get(), answers, 5, 64, QLORA_ERROR_CANCELLED);
  std::vector<int32_t> stale = kPrefix;
  EXPECT(qlora_generator_set_prefix(g.get(), stale.data(), 3) == QLORA_ERROR_STATE, "live");
  flag = 0;
  while (run(g.get(), answers, 5) > 0) {
  }
  fixture::check(qlora_model_set_cancel_flag(model.get(), nullptr), "flag");
  EXPECT(same(answers[id], answer_alone(model.get(), kPrefix, kPrompts[0], warm(9, 1))), "");
}

OP_TEST(base_and_tuned_take_turns) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  std::vector<fixture::Generator> generators;
  std::vector<Answers> answers(2);
  std::vector<int32_t> ids;
  for (int32_t enabled = 0; enabled < 2; ++enabled) {
    fixture::check(qlora_model_enable_lora(model.get(), enabled), "enable");
    generators.push_back(make_generator(model.get()));
    set_prefix(generators.back().get(), kPrefix);
    ids.push_back(add(generators.back().get(), kPrompts[0], warm(9, 1)));
  }
  for (int live = 2; live > 0;) {
    live = 0;
    for (size_t enabled = 0; enabled < 2; ++enabled) {
      fixture::check(qlora_model_enable_lora(model.get(), static_cast<int32_t>(enabled)), "enable");
      live += run(generators[enabled].get(), answers[enabled], 2);
    }
  }
  for (size_t enabled = 0; enabled < 2; ++enabled) {
    fixture::check(qlora_model_enable_lora(model.get(), static_cast<int32_t>(enabled)), "enable");
    EXPECT(same(answers[enabled][ids[enabled]],
                answer_alone(model.get(), kPrefix, kPrompts[0], warm(9, 1))),
           enabled ? "tuned" : "base");
  }
  EXPECT(!same(answers[0][ids[0]], answers[1][ids[1]]), "the adapter makes a difference");
}

OP_TEST(stale_caches_are_refused) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  const fixture::Generator g = make_generator(model.get());
  set_prefix(g.get(), kPrefix);
  fixture::check(qlora_model_enable_lora(model.get(), 0), "disable");
  int32_t id = -1;
  EXPECT(try_add(g.get(), kPrompts[0], greedy(5), &id) == QLORA_ERROR_STATE, "add");
  set_prefix(g.get(), kPrefix);
  const int32_t base = add(g.get(), kPrompts[0], greedy(5));
  Answers answers;
  run(g.get(), answers, 2);
  fixture::check(qlora_model_enable_lora(model.get(), 1), "enable");
  std::vector<qlora_generated_token> tokens(16);
  int64_t count = 0;
  int32_t live = 0;
  EXPECT(qlora_generator_run(g.get(), 2, tokens.data(), 16, &count, &live) == QLORA_ERROR_STATE,
         "run");
  fixture::check(qlora_generator_remove(g.get(), base), "remove");
  set_prefix(g.get(), kPrefix);
  const int32_t tuned = add(g.get(), kPrompts[0], greedy(5));
  while (run(g.get(), answers, 9) > 0) {
  }
  EXPECT(same(answers[tuned], answer_alone(model.get(), kPrefix, kPrompts[0], greedy(5))), "");
  // Without an adapter, buffers of other sizes.
  fixture::check(qlora_model_detach_lora(model.get()), "detach");
  set_prefix(g.get(), kPrefix);
  const int32_t plain = add(g.get(), kPrompts[0], greedy(5));
  while (run(g.get(), answers, 9) > 0) {
  }
  EXPECT(same(answers[plain], answer_alone(model.get(), kPrefix, kPrompts[0], greedy(5))), "");
}

OP_TEST(quantised_weights_decode_as_resident_ones) {
  const golden::Case c("llama_nf4_double");
  fixture::ModelOptions tight;
  tight.memory_budget = fixture::tiled_budget(c);
  const fixture::Model resident = fixture::make_model(c);
  const fixture::Model tiled = fixture::make_model(c, tight);
  const Answer a = answer_alone(resident.get(), kPrefix, kPrompts[0], greedy(12));
  const Answer b = answer_alone(tiled.get(), kPrefix, kPrompts[0], greedy(12));
  expect_same_greedy(c, resident.get(), join(kPrefix, kPrompts[0]), a, b);
}

OP_TEST(generator_arguments_are_checked) {
  const golden::Case c("mha_untied");
  const fixture::Model model = fixture::make_model(c);
  const fixture::Generator g = make_generator(model.get(), 1, 8, 4);
  const auto refused = [&](const std::vector<int32_t>& prompt, const qlora_sampling& sampling,
                           const char* part) {
    int32_t id = -7;
    EXPECT(try_add(g.get(), prompt, sampling, &id) == QLORA_ERROR_INVALID_ARGUMENT, part);
    const std::string message = qlora_generator_error(g.get());
    EXPECT(message.find(part) != std::string::npos, message);
    EXPECT(id == -7, "untouched");
  };
  refused({}, greedy(1), "at least 1");
  refused({1, 2, 3, 4, 5, 6, 7, 8}, greedy(1), "max_sequence_tokens");
  refused({80}, greedy(1), "token_ids[0]");
  refused({1}, greedy(0), "max_new_tokens");
  qlora_sampling bad = greedy(1);
  bad.temperature = -1;
  refused({1}, bad, "temperature");
  bad = greedy(1);
  bad.top_p = 0;
  refused({1}, bad, "top_p");
  bad = greedy(1);
  bad.repetition_penalty = 0;
  refused({1}, bad, "repetition_penalty");
  const std::vector<int32_t> long_prefix(5, 1);
  EXPECT(qlora_generator_set_prefix(g.get(), long_prefix.data(), 5) == QLORA_ERROR_INVALID_ARGUMENT,
         "prefix");
  add(g.get(), {1}, greedy(3));
  int32_t id = 0;
  EXPECT(try_add(g.get(), {1}, greedy(3), &id) == QLORA_ERROR_OUT_OF_MEMORY, "all live");
  qlora_generated_token token;
  int64_t count = 0;
  int32_t live = 0;
  EXPECT(qlora_generator_run(g.get(), 1, &token, 0, &count, &live) == QLORA_ERROR_INVALID_ARGUMENT,
         "capacity");
  // Room for one token: one step, however many are asked for.
  fixture::check(qlora_generator_run(g.get(), 9, &token, 1, &count, &live), "run");
  EXPECT(count == 1 && live == 1, "one step");
}
