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

OP_TEST(a_budget_keeps_some_layers_and_changes_no_bit) {
  const golden::Case c("gqa2_tied_llama3");
  qlora_model_config config = fixture::config_of(c);
  config.num_layers = 5;
  qlora_lora_config lora = fixture::lora_of(c, 0.2);
  qlora_train_config train_config;
  qlora_train_config_default(&train_config);
  train_config.max_tokens = 128;
  train_config.max_sequences = 8;
  train_config.max_targets = 128;
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
  std::vector<float> gradients_of_budget[3];
  int32_t kept[3] = {};
  for (int i = 0; i < 3; ++i) {
    // Loading buffers come and go before the trainer's; an eighth of the budget decides residency.
    config.memory_budget = least + i * (most - least) / 2;
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
    kept[i] = memory_of(raw_model).kept_layers;
    // One step first, so that B is not zero.
    for (int batch = 0; batch < 2; ++batch) {
      fixture::accumulate(raw, fixture::samples_of(c, batch), true);
      if (batch == 0) fixture::step(raw, 0.01);
    }
    for (int layer = 0; layer < 5; ++layer) {
      const std::string name =
          "model.layers." + std::to_string(layer) + ".mlp.down_proj.lora_A.weight";
      std::vector<float> values(static_cast<size_t>(lora.rank * config.intermediate_size));
      fixture::check(qlora_trainer_read_gradient(raw, name.c_str(), values.data(),
                                                 static_cast<int64_t>(values.size())),
                     qlora_trainer_error(raw));
      gradients_of_budget[i].insert(gradients_of_budget[i].end(), values.begin(), values.end());
    }
  }
  EXPECT(kept[0] < kept[1] && kept[1] < 5, std::to_string(kept[0]) + " " + std::to_string(kept[1]));
  EXPECT(kept[2] == 5, std::to_string(kept[2]));
  EXPECT(op_test::same_bits(gradients_of_budget[0], gradients_of_budget[1]), "some layers kept");
  EXPECT(op_test::same_bits(gradients_of_budget[0], gradients_of_budget[2]), "all layers kept");
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

OP_TEST(tiled_weights_are_resident_weights_bit_for_bit) {
  const golden::Case c("llama_nf4_double");
  fixture::ModelOptions roomy = with_dropout();
  fixture::ModelOptions tight = with_dropout();
  tight.memory_budget = 2800000;  // an eighth of it holds less than the dequantised weights
  fixture::TrainOptions small;
  small.max_tokens = 64;
  EXPECT(same(train_steps(c, roomy, small), train_steps(c, tight, small)), "");
  const fixture::Model a = fixture::make_model(c, roomy);
  const fixture::Model b = fixture::make_model(c, tight);
  const Samples samples = fixture::samples_of(c, 0);
  fixture::evaluate(a.get(), samples, true);
  fixture::evaluate(b.get(), samples, true);
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
