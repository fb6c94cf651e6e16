// What must not change a result: packing, prefix sharing, accumulation, recompute, threads,
// resuming, where the weights lie. And the gradient against finite differences.
//
// "Same bits" where the arithmetic is the same. Where sums run in another order, or in tiles of
// another size: kTolerance in fp32; in bf16 the two differ by less than naive bf16 does from fp32.
#include <cmath>

#include "fixture.h"

using fixture::Samples;

namespace {

constexpr double kTolerance = 1e-5;
const char* const kCases[] = {"gqa2_tied_llama3", "qwen3_norm", "llama_nf4_double"};

std::vector<float> gradients(const golden::Case& c, const std::vector<Samples>& batches,
                             const fixture::ModelOptions& options,
                             const fixture::TrainOptions& train = {}) {
  const fixture::Model model = fixture::make_model(c, options);
  const fixture::Trainer trainer = fixture::make_trainer(model.get(), train);
  for (const Samples& samples : batches) fixture::accumulate(trainer.get(), samples, true);
  return fixture::read_gradients(trainer.get(), c);
}

struct Run {
  std::vector<double> losses;
  std::vector<float> adapter;
};

Run train(qlora_model* model, qlora_trainer* trainer, const golden::Case& c, int first, int last) {
  Run run;
  for (int i = first; i < last; ++i) {
    fixture::accumulate(trainer, fixture::samples_of(c, i), true);
    run.losses.push_back(fixture::step(trainer, 0.01).loss);
  }
  run.adapter = fixture::read_adapter(model, c);
  return run;
}

Run train_steps(const golden::Case& c, const fixture::ModelOptions& options,
                const fixture::TrainOptions& train_options = {}) {
  const fixture::Model model = fixture::make_model(c, options);
  const fixture::Trainer trainer = fixture::make_trainer(model.get(), train_options);
  return train(model.get(), trainer.get(), c, 0, 4);
}

bool same(const Run& a, const Run& b) {
  return op_test::same_bits(a.losses, b.losses) && op_test::same_bits(a.adapter, b.adapter);
}

fixture::ModelOptions with_dropout(int threads = 1) {
  fixture::ModelOptions options;
  options.dropout = 0.3;
  options.threads = threads;
  return options;
}

qlora_memory_report memory_of(qlora_model* model) {
  qlora_memory_report report{};
  report.struct_size = sizeof report;
  fixture::check(qlora_model_memory(model, &report), qlora_model_error(model));
  return report;
}

}  // namespace

OP_TEST(packed_is_unpacked_and_accumulated_is_one_batch) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    const Samples all = fixture::samples_of(c, 0);
    std::vector<Samples> single;
    for (int i = 0; i < static_cast<int>(all.samples.size()); ++i) {
      const Samples one = all.pick({i});
      if (!one.targets.empty()) single.push_back(one);
    }
    const std::vector<float> packed = gradients(c, {all}, with_dropout());
    const std::vector<float> apart = gradients(c, single, with_dropout());
    fixture::expect_equal(gradients(c, {all}, {}), gradients(c, single, {}), kTolerance,
                          c.naive_error("grad"), std::string(name) + " without dropout");
    fixture::expect_equal(packed, apart, kTolerance, c.naive_error("dropout_grad"), name);
    // The masks are at work: without dropout the gradient is another.
    EXPECT(fixture::difference(gradients(c, {all}, {}), packed) > 0.01, std::string(name));
  }
}

OP_TEST(order_of_samples_changes_no_gradient) {
  const golden::Case c("gqa2_tied_llama3");
  const Samples all = fixture::samples_of(c, 0);
  const std::vector<float> forward = gradients(c, {all}, with_dropout());
  const std::vector<float> backward = gradients(c, {all.pick({2, 0, 1})}, with_dropout());
  fixture::expect_equal(forward, backward, kTolerance, c.naive_error("dropout_grad"), "");
}

OP_TEST(many_targets_go_through_the_loss_in_chunks) {
  const golden::Case c("gqa2_tied_llama3");
  Samples many;
  many.prefix = fixture::samples_of(c, 0).prefix;
  for (int batch = 0; batch < 8; ++batch) {
    for (const std::vector<int32_t>& sample : fixture::samples_of(c, batch).samples) {
      const int32_t index = static_cast<int32_t>(many.samples.size());
      many.samples.push_back(sample);
      many.keys.push_back(index);
      // Every token twice, so that rows repeat: more targets than one chunk of 512 holds.
      for (size_t i = 0; i < sample.size(); ++i) {
        const int32_t position = static_cast<int32_t>(many.prefix.size() + i);
        many.targets.push_back({index, position, 0.25f});
        many.targets.push_back({index, position, 0.75f});
      }
    }
  }
  EXPECT(many.targets.size() > 1024, std::to_string(many.targets.size()));
  std::vector<Samples> single;
  for (int i = 0; i < static_cast<int>(many.samples.size()); ++i) single.push_back(many.pick({i}));
  const auto run = [&](const std::vector<Samples>& batches) {
    const fixture::Model model = fixture::make_model(c, with_dropout());
    qlora_train_config config;
    qlora_train_config_default(&config);
    config.max_tokens = 1024;
    config.max_sequences = 64;
    config.max_targets = 2048;
    config.dropout_seed = 7;
    qlora_trainer* raw = nullptr;
    char error[512] = "";
    fixture::check(qlora_trainer_create(model.get(), &config, &raw, error, sizeof error), error);
    const fixture::Trainer trainer(raw);
    for (const Samples& samples : batches) fixture::accumulate(raw, samples, true);
    return fixture::read_gradients(raw, c);
  };
  fixture::expect_equal(run({many}), run(single), kTolerance, c.naive_error("dropout_grad"), "");
}

OP_TEST(recompute_is_kept_bit_for_bit) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    fixture::TrainOptions kept;
    fixture::TrainOptions full;
    full.recompute = QLORA_RECOMPUTE_FULL;
    EXPECT(same(train_steps(c, with_dropout(), kept), train_steps(c, with_dropout(), full)), name);
    EXPECT(same(train_steps(c, {}, kept), train_steps(c, {}, full)), name);
  }
}

namespace {

void check_budgets(const golden::Case& c) {
  qlora_model_config config = fixture::config_of(c);
  config.num_layers = 5;
  qlora_lora_config lora = fixture::lora_of(c, 0.2);
  lora.target_modules = 127;
  qlora_train_config train_config;
  qlora_train_config_default(&train_config);
  // So much that activations, not weights, decide what fits.
  train_config.max_tokens = 1024;
  train_config.max_sequences = 8;
  train_config.max_targets = 1024;
  const auto total = [&](int recompute) {
    qlora_memory_report plan{};
    plan.struct_size = sizeof plan;
    char error[512] = "";
    train_config.recompute = recompute;
    fixture::check(qlora_plan_training(&config, &lora, &train_config, &plan, error, sizeof error),
                   error);
    return plan.total;
  };
  const int64_t least = total(QLORA_RECOMPUTE_FULL);
  const int64_t most = total(QLORA_RECOMPUTE_NONE);
  constexpr int kBudgets = 5;
  std::vector<float> gradients_of_budget[kBudgets];
  qlora_memory_report memory[kBudgets];
  for (int i = 0; i < kBudgets; ++i) {
    // Nine tenths of the budget are there to be filled.
    config.memory_budget = (least + i * (most - least) / (kBudgets - 1)) * 10 / 9 + 20;
    qlora_model* raw_model = nullptr;
    char error[512] = "";
    fixture::check(qlora_model_create(&config, &raw_model, error, sizeof error), error);
    const fixture::Model model(raw_model);
    fixture::check(qlora_model_load_random(raw_model, 11, 0.2), qlora_model_error(raw_model));
    fixture::check(qlora_model_finalize(raw_model), qlora_model_error(raw_model));
    fixture::check(qlora_model_attach_lora(raw_model, &lora), qlora_model_error(raw_model));
    train_config.recompute = QLORA_RECOMPUTE_AUTO;
    qlora_trainer* raw = nullptr;
    fixture::check(qlora_trainer_create(raw_model, &train_config, &raw, error, sizeof error),
                   error);
    const fixture::Trainer trainer(raw);
    memory[i] = memory_of(raw_model);
    EXPECT(memory[i].resident == 1, "the same products at every budget");
    EXPECT(memory[i].total <= config.memory_budget, std::to_string(memory[i].total));
    // One step first, so that B is not zero.
    for (int batch = 0; batch < 2; ++batch) {
      fixture::accumulate(raw, fixture::samples_of(c, batch), true);
      if (batch == 0) fixture::step(raw, 0.01);
    }
    for (int layer = 0; layer < 5; ++layer) {
      for (const char* part : {".self_attn.q_proj.lora_B", ".mlp.down_proj.lora_A"}) {
        const std::string name = "model.layers." + std::to_string(layer) + part + ".weight";
        const bool is_a = name.find("lora_A") != std::string::npos;
        const int64_t side =
            is_a ? config.intermediate_size : int64_t{config.num_heads} * config.head_dim;
        std::vector<float> values(static_cast<size_t>(lora.rank * side));
        fixture::check(qlora_trainer_read_gradient(raw, name.c_str(), values.data(),
                                                   static_cast<int64_t>(values.size())),
                       qlora_trainer_error(raw));
        gradients_of_budget[i].insert(gradients_of_budget[i].end(), values.begin(), values.end());
      }
    }
    EXPECT(op_test::same_bits(gradients_of_budget[0], gradients_of_budget[i]),
           "budget " + std::to_string(i) + " of " + std::to_string(kBudgets));
  }
  const auto kept = [&](int i) {
    return std::to_string(memory[i].kept_layers) + " kept, " +
           std::to_string(memory[i].whole_layers) + " whole";
  };
  EXPECT(memory[0].kept_layers == 1 && memory[0].whole_layers == 1, kept(0));
  EXPECT(memory[1].kept_layers > 1 && memory[1].kept_layers < 5, kept(1));
  EXPECT(memory[3].kept_layers == 5 && memory[3].whole_layers < 5, kept(3));
  EXPECT(memory[3].whole_layers > 1, kept(3));
  EXPECT(memory[4].kept_layers == 5 && memory[4].whole_layers == 5, kept(4));
}

}  // namespace

OP_TEST(a_budget_keeps_some_layers_and_changes_no_bit) {
  check_budgets(golden::Case("gqa2_tied_llama3"));
  check_budgets(golden::Case("qwen3_norm"));  // norms of heads are kept beside their products
}

// A model whose head takes several chunks of the vocabulary, with everything in host memory that can
// be, trains bit for bit as one with everything on the device.
OP_TEST(host_memory_changes_no_bit) {
  for (const int tied : {0, 1}) {
    std::vector<float> results[2];
    qlora_memory_report memory[2];
    for (const int on_host : {0, 1}) {
      qlora_model_config config = fixture::config_of(golden::Case("gqa2_tied_llama3"));
      config.tie_word_embeddings = tied;
      config.vocab_size = 777;
      config.host_memory =
          on_host * (QLORA_HOST_EMBEDDINGS | QLORA_HOST_HEAD | QLORA_HOST_OPTIMIZER);
      config.memory_budget = fixture::device_overhead(config) + 12000000;
      qlora_model* raw_model = nullptr;
      char error[512] = "";
      fixture::check(qlora_model_create(&config, &raw_model, error, sizeof error), error);
      const fixture::Model model(raw_model);
      fixture::check(qlora_model_load_random(raw_model, 3, 0.2), qlora_model_error(raw_model));
      fixture::check(qlora_model_finalize(raw_model), qlora_model_error(raw_model));
      const qlora_lora_config lora = fixture::lora_of(golden::Case("gqa2_tied_llama3"), 0.1);
      fixture::check(qlora_model_attach_lora(raw_model, &lora), qlora_model_error(raw_model));
      const fixture::Trainer trainer = fixture::make_trainer(raw_model);
      memory[on_host] = memory_of(raw_model);
      const Samples samples = fixture::samples_of(golden::Case("gqa2_tied_llama3"), 0);
      for (int step = 0; step < 2; ++step) {
        fixture::accumulate(trainer.get(), samples, true);
        const qlora_step_result result = fixture::step(trainer.get(), 0.01);
        results[on_host].push_back(static_cast<float>(result.loss));
        results[on_host].push_back(static_cast<float>(result.grad_norm));
      }
      int64_t bytes = 0;
      fixture::check(qlora_trainer_state_bytes(trainer.get(), &bytes), "");
      std::vector<char> state(static_cast<size_t>(bytes));
      fixture::check(qlora_trainer_export_state(trainer.get(), state.data(), bytes), "export");
      fixture::check(qlora_trainer_import_state(trainer.get(), state.data(), bytes), "import");
      fixture::accumulate(trainer.get(), samples, true);
      fixture::step(trainer.get(), 0.01);
      const std::vector<float> nll = fixture::evaluate(raw_model, samples, true);
      results[on_host].insert(results[on_host].end(), nll.begin(), nll.end());
    }
    EXPECT(op_test::same_bits(results[0], results[1]), tied != 0 ? "tied" : "untied");
    EXPECT(memory[0].host == 0 && memory[0].embeddings > 0, "on the device");
    EXPECT(memory[1].embeddings == 0 && memory[1].host > memory[0].embeddings, "on the host");
    EXPECT(memory[1].optimizer < memory[0].optimizer, "moments");
  }
}

// The loss over the vocabulary in one piece is the loss in many.
OP_TEST(chunks_of_the_vocabulary_are_one_softmax) {
  const golden::Case c("gqa2_tied_llama3");
  std::vector<float> gradients_of[2];
  std::vector<float> nll_of[2];
  for (const int chunked : {0, 1}) {
    qlora_model_config config = fixture::config_of(c);
    config.vocab_size = 1500;
    // A share of 12 MB holds 256 columns of the logits of 256 targets.
    if (chunked != 0) config.memory_budget = fixture::device_overhead(config) + 12000000;
    qlora_model* raw_model = nullptr;
    char error[512] = "";
    fixture::check(qlora_model_create(&config, &raw_model, error, sizeof error), error);
    const fixture::Model model(raw_model);
    fixture::check(qlora_model_load_random(raw_model, 3, 0.2), qlora_model_error(raw_model));
    fixture::check(qlora_model_finalize(raw_model), qlora_model_error(raw_model));
    const qlora_lora_config lora = fixture::lora_of(c, 0.1);
    fixture::check(qlora_model_attach_lora(raw_model, &lora), qlora_model_error(raw_model));
    for (const std::string& name : c.names("lora.")) {
      const std::vector<float> values = c.tensor("lora." + name).floats();
      fixture::check(qlora_model_write_lora(raw_model, name.c_str(), values.data(),
                                            static_cast<int64_t>(values.size())),
                     name);
    }
    const fixture::Trainer trainer = fixture::make_trainer(raw_model);
    fixture::accumulate(trainer.get(), fixture::samples_of(c, 0), true);
    gradients_of[chunked] = fixture::read_gradients(trainer.get(), c);
    nll_of[chunked] = fixture::evaluate(raw_model, fixture::samples_of(c, 0), true);
  }
  fixture::expect_equal(gradients_of[0], gradients_of[1], kTolerance, c.naive_error("grad"),
                        "gradients");
  EXPECT(fixture::difference(nll_of[0], nll_of[1]) <= kTolerance, "nll");
}

OP_TEST(same_seed_and_any_number_of_threads_same_bits) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    const Run one = train_steps(c, with_dropout(1));
    EXPECT(same(one, train_steps(c, with_dropout(1))), std::string(name) + " again");
    EXPECT(same(one, train_steps(c, with_dropout(2))), std::string(name) + " two threads");
    EXPECT(same(one, train_steps(c, with_dropout(5))), std::string(name) + " five threads");
    fixture::TrainOptions other;
    other.dropout_seed = 8;
    EXPECT(!same(one, train_steps(c, with_dropout(1), other)), std::string(name) + " other seed");
  }
}

OP_TEST(resumed_is_uninterrupted_bit_for_bit) {
  const golden::Case c("llama_nf4_double");
  const fixture::Model model = fixture::make_model(c, with_dropout());
  std::vector<char> state;
  std::vector<float> at_two;
  {
    const fixture::Trainer trainer = fixture::make_trainer(model.get());
    train(model.get(), trainer.get(), c, 0, 2);
    int64_t bytes = 0;
    fixture::check(qlora_trainer_state_bytes(trainer.get(), &bytes), "");
    state.resize(static_cast<size_t>(bytes));
    fixture::check(qlora_trainer_export_state(trainer.get(), state.data(), bytes),
                   qlora_trainer_error(trainer.get()));
  }
  const fixture::Model second = fixture::make_model(c, with_dropout());
  for (const std::string& name : c.names("lora.")) {
    std::vector<float> values(static_cast<size_t>(c.tensor("lora." + name).count()));
    const int64_t count = static_cast<int64_t>(values.size());
    fixture::check(qlora_model_read_lora(model.get(), name.c_str(), values.data(), count), name);
    fixture::check(qlora_model_write_lora(second.get(), name.c_str(), values.data(), count), name);
  }
  const fixture::Trainer trainer = fixture::make_trainer(second.get());
  fixture::check(
      qlora_trainer_import_state(trainer.get(), state.data(), static_cast<int64_t>(state.size())),
      qlora_trainer_error(trainer.get()));
  const Run resumed = train(second.get(), trainer.get(), c, 2, 4);
  const Run whole = train_steps(c, with_dropout());
  EXPECT(op_test::same_bits(resumed.adapter, whole.adapter), "adapter");
  EXPECT(resumed.losses[1] == whole.losses[3], "loss");

  state[0] ^= 1;
  EXPECT(
      qlora_trainer_import_state(trainer.get(), state.data(), static_cast<int64_t>(state.size())) ==
          QLORA_ERROR_INVALID_ARGUMENT,
      "a damaged state");
  EXPECT(
      qlora_trainer_import_state(trainer.get(), state.data(), 10) == QLORA_ERROR_INVALID_ARGUMENT,
      "a short state");
}

OP_TEST(shared_prefix_evaluates_as_unshared) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    const fixture::Model model = fixture::make_model(c);
    for (int batch = 0; batch < 3; ++batch) {
      const Samples samples = fixture::samples_of(c, batch);
      fixture::expect_equal(fixture::evaluate(model.get(), samples, true),
                            fixture::evaluate(model.get(), samples, false), kTolerance,
                            c.naive_error("nll"), name);
    }
  }
}

// Without dropout: shared, the prefix's masks are drawn once, unshared once a sample.
OP_TEST(shared_prefix_has_the_gradient_of_unshared) {
  for (const char* name : kCases) {
    const golden::Case c(name);
    std::vector<float> of[2];
    for (const bool share : {false, true}) {
      const fixture::Model model = fixture::make_model(c);
      const fixture::Trainer trainer = fixture::make_trainer(model.get());
      for (int batch = 0; batch < 2; ++batch) {
        fixture::accumulate(trainer.get(), fixture::samples_of(c, batch), share);
      }
      of[share ? 1 : 0] = fixture::read_gradients(trainer.get(), c);
    }
    fixture::expect_equal(of[1], of[0], kTolerance, c.naive_error("grad"), name);
  }
}

OP_TEST(evaluation_during_training_is_evaluation_alone) {
  const golden::Case c("gqa2_tied_llama3");
  const Samples samples = fixture::samples_of(c, 1);
  const fixture::Model model = fixture::make_model(c, with_dropout());
  const std::vector<float> alone = fixture::evaluate(model.get(), samples, true);
  const fixture::Trainer trainer = fixture::make_trainer(model.get());
  EXPECT(op_test::same_bits(fixture::evaluate(model.get(), samples, true), alone), "before");
  // Between two micro-batches it changes no gradient.
  fixture::accumulate(trainer.get(), samples, true);
  fixture::evaluate(model.get(), fixture::samples_of(c, 2), true);
  const std::vector<float> gradient = fixture::read_gradients(trainer.get(), c);
  EXPECT(op_test::same_bits(gradient, gradients(c, {samples}, with_dropout())), "gradient");
}

OP_TEST(an_adapter_with_zero_b_and_a_disabled_one_change_nothing) {
  const golden::Case c("qwen2_bias_nf4");
  const Samples samples = fixture::samples_of(c, 0);
  fixture::ModelOptions base_only;
  base_only.adapter = false;
  const fixture::Model base = fixture::make_model(c, base_only);
  const std::vector<float> want = fixture::evaluate(base.get(), samples, true);

  const fixture::Model tuned = fixture::make_model(c);
  EXPECT(fixture::difference(fixture::evaluate(tuned.get(), samples, true), want) > 1e-3, "tuned");
  fixture::check(qlora_model_enable_lora(tuned.get(), 0), qlora_model_error(tuned.get()));
  const double naive = c.naive_error("nll");
  fixture::expect_equal(fixture::evaluate(tuned.get(), samples, true), want, 1e-6, naive, "off");

  const qlora_lora_config fresh = fixture::lora_of(c);
  fixture::check(qlora_model_attach_lora(base.get(), &fresh), qlora_model_error(base.get()));
  fixture::expect_equal(fixture::evaluate(base.get(), samples, true), want, 1e-6, naive, "fresh");
  fixture::check(qlora_model_detach_lora(tuned.get()), qlora_model_error(tuned.get()));
  EXPECT(op_test::same_bits(fixture::evaluate(tuned.get(), samples, true), want), "detached");
}

// In bf16 the products over windows may be other kernels, whose sums run in another order.
OP_TEST(tiled_weights_are_resident_weights_bit_for_bit) {
  const golden::Case c("llama_nf4_double");
  fixture::ModelOptions roomy = with_dropout();
  fixture::ModelOptions tight = with_dropout();
  tight.memory_budget = fixture::tiled_budget(c);
  fixture::TrainOptions small;
  small.max_tokens = 64;
  if (fixture::kBf16) {
    fixture::expect_equal(gradients(c, {fixture::samples_of(c, 0)}, roomy, small),
                          gradients(c, {fixture::samples_of(c, 0)}, tight, small), kTolerance,
                          c.naive_error("dropout_grad"), "gradients");
  } else {
    EXPECT(same(train_steps(c, roomy, small), train_steps(c, tight, small)), "");
  }
  EXPECT(same(train_steps(c, tight, small), train_steps(c, tight, small)), "the same again");
  const fixture::Model a = fixture::make_model(c, roomy);
  const fixture::Model b = fixture::make_model(c, tight);
  const Samples samples = fixture::samples_of(c, 0);
  fixture::evaluate(a.get(), samples, true);
  fixture::evaluate(b.get(), samples, true);
  EXPECT(memory_of(a.get()).resident == 1 && memory_of(b.get()).resident == 0, "resident, tiled");
  EXPECT(memory_of(a.get()).workspace > memory_of(b.get()).workspace, "the budget made no tile");
}

// In fp32 alone: in bf16 two losses so near each other differ by rounding, and PyTorch's gradients
// under the same masks are the test (golden_gradients_under_dropout).
OP_TEST(gradient_is_the_finite_difference) {
  if (fixture::kBf16) return;
  for (const char* name : kCases) {
    const golden::Case c(name);
    const Samples samples = fixture::samples_of(c, 0);
    const fixture::Model model = fixture::make_model(c, with_dropout());
    const fixture::Trainer trainer = fixture::make_trainer(model.get());
    fixture::accumulate(trainer.get(), samples, true);
    // Along the gradient g itself: (f(θ + h·g) − f(θ − h·g)) / 2h = |g|², the masks unchanged.
    const std::vector<float> gradient = fixture::read_gradients(trainer.get(), c);
    double square = 0;
    for (const float g : gradient) square += static_cast<double>(g) * static_cast<double>(g);
    const double h = 0.001 / std::sqrt(square);
    double values[2];
    for (const int side : {0, 1}) {
      size_t offset = 0;
      for (const std::string& tensor : c.names("lora.")) {
        std::vector<float> shifted = c.tensor("lora." + tensor).floats();
        for (float& v : shifted) {
          v += static_cast<float>((side == 0 ? h : -h) * static_cast<double>(gradient[offset++]));
        }
        fixture::check(qlora_model_write_lora(model.get(), tensor.c_str(), shifted.data(),
                                              static_cast<int64_t>(shifted.size())),
                       tensor);
      }
      values[side] = fixture::accumulate(trainer.get(), samples, true).nll_sum;
    }
    const double slope = (values[0] - values[1]) / (2 * h);
    EXPECT(std::abs(slope / square - 1) < 2e-3,
           std::string(name) + ": " + std::to_string(slope / square));
  }
}
