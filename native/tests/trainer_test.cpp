// The trainer's states: order of calls, cancelling, values that are not finite, capacity; the plan.
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "fixture.h"

using fixture::Samples;

namespace {

qlora_status try_accumulate(qlora_trainer* trainer, const Samples& samples) {
  const fixture::Packed packed = fixture::pack(samples, true);
  const qlora_batch batch = packed.view();
  qlora_batch_result result{};
  result.struct_size = sizeof result;
  return qlora_trainer_accumulate(trainer, &batch, nullptr, &result);
}

qlora_status try_step(qlora_trainer* trainer, double learning_rate = 0.01) {
  qlora_step_result result{};
  result.struct_size = sizeof result;
  return qlora_trainer_step(trainer, learning_rate, &result);
}

bool mentions(const char* text, const char* part) {
  return std::string(text).find(part) != std::string::npos;
}

qlora_memory_report empty_report() {
  qlora_memory_report report{};
  report.struct_size = sizeof report;
  return report;
}

}  // namespace

OP_TEST(a_cancelled_accumulate_asks_for_a_reset) {
  const golden::Case c("gqa2_tied_llama3");
  const Samples samples = fixture::samples_of(c, 0);
  const fixture::Model model = fixture::make_model(c);
  const fixture::Trainer trainer = fixture::make_trainer(model.get());
  int32_t flag = 1;
  fixture::check(qlora_model_set_cancel_flag(model.get(), &flag), "flag");
  EXPECT(try_accumulate(trainer.get(), samples) == QLORA_ERROR_CANCELLED, "accumulate");
  std::vector<float> nll(samples.targets.size());
  const fixture::Packed packed = fixture::pack(samples, true);
  const qlora_batch batch = packed.view();
  EXPECT(qlora_model_evaluate(model.get(), &batch, nll.data()) == QLORA_ERROR_CANCELLED,
         "evaluate");
  flag = 0;
  EXPECT(try_accumulate(trainer.get(), samples) == QLORA_ERROR_STATE, "accumulate again");
  EXPECT(mentions(qlora_trainer_error(trainer.get()), "reset_gradients"), "message");
  EXPECT(try_step(trainer.get()) == QLORA_ERROR_STATE, "step");
  fixture::check(qlora_trainer_reset_gradients(trainer.get()), "reset");
  fixture::accumulate(trainer.get(), samples, true);

  const fixture::Model fresh = fixture::make_model(c);
  const fixture::Trainer other = fixture::make_trainer(fresh.get());
  fixture::accumulate(other.get(), samples, true);
  EXPECT(op_test::same_bits(fixture::read_gradients(trainer.get(), c),
                            fixture::read_gradients(other.get(), c)),
         "gradients after the reset");
  fixture::check(qlora_model_set_cancel_flag(model.get(), nullptr), "unregister");
}

// The flag is raised by another thread while the call runs.
OP_TEST(a_call_cancelled_half_way_leaves_all_as_it_was) {
  const golden::Case c("gqa2_tied_llama3");
  const Samples samples = fixture::samples_of(c, 0);
  qlora_model_config config = fixture::config_of(c);
  config.num_layers = 60;  // as many places to stop, forward and backward
  const qlora_lora_config lora = fixture::lora_of(c, 0.1);
  const fixture::Model model = fixture::make_random_model(config, lora);
  const fixture::Trainer trainer = fixture::make_trainer(model.get());
  std::atomic<int32_t> flag{0};
  static_assert(sizeof flag == sizeof(int32_t), "read by the library as an int32_t");
  fixture::check(qlora_model_set_cancel_flag(model.get(), reinterpret_cast<const int32_t*>(&flag)),
                 "flag");
  fixture::accumulate(trainer.get(), samples, true);
  fixture::check(qlora_trainer_reset_gradients(trainer.get()), "reset");
  int cancelled = 0;
  for (int attempt = 0; attempt < 400 && cancelled < 3; ++attempt) {
    flag = 0;
    std::thread other([&, attempt] {
      const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(attempt * 23);
      while (std::chrono::steady_clock::now() < until) {
      }
      flag = 1;
    });
    const qlora_status status = try_accumulate(trainer.get(), samples);
    other.join();
    flag = 0;
    EXPECT(status == QLORA_OK || status == QLORA_ERROR_CANCELLED, std::to_string(status));
    if (status == QLORA_ERROR_CANCELLED) {
      ++cancelled;
      EXPECT(try_step(trainer.get()) == QLORA_ERROR_STATE, "a step on half a gradient");
    }
    fixture::check(qlora_trainer_reset_gradients(trainer.get()), "reset");
  }
  EXPECT(cancelled > 0, "no call was caught while it ran");
  fixture::check(qlora_model_set_cancel_flag(model.get(), nullptr), "unregister");
  fixture::accumulate(trainer.get(), samples, true);
  const fixture::Model fresh = fixture::make_random_model(config, lora);
  const fixture::Trainer other = fixture::make_trainer(fresh.get());
  fixture::accumulate(other.get(), samples, true);
  const char* const name = "model.layers.30.mlp.up_proj.lora_B.weight";
  EXPECT(op_test::same_bits(fixture::read_gradient(trainer.get(), name, 4 * 48),
                            fixture::read_gradient(other.get(), name, 4 * 48)),
         "the gradient after cancelled calls");
}

OP_TEST(values_that_are_not_finite_change_nothing) {
  const golden::Case c("mha_untied");
  const Samples samples = fixture::samples_of(c, 0);
  const fixture::Model model = fixture::make_model(c);
  const fixture::Trainer trainer = fixture::make_trainer(model.get());
  const std::string name = c.names("lora.").front();
  std::vector<float> good = c.tensor("lora." + name).floats();
  std::vector<float> bad = good;
  bad[0] = std::numeric_limits<float>::quiet_NaN();
  const auto write = [&](const std::vector<float>& values) {
    fixture::check(qlora_model_write_lora(model.get(), name.c_str(), values.data(),
                                          static_cast<int64_t>(values.size())),
                   name);
  };
  write(bad);
  EXPECT(try_accumulate(trainer.get(), samples) == QLORA_OK, "accumulate");
  EXPECT(try_step(trainer.get()) == QLORA_ERROR_NOT_FINITE, "step");
  std::vector<float> after(good.size());
  fixture::check(qlora_model_read_lora(model.get(), name.c_str(), after.data(),
                                       static_cast<int64_t>(after.size())),
                 name);
  EXPECT(op_test::same_bits(after, bad), "the adapter is untouched");
  EXPECT(try_step(trainer.get()) == QLORA_ERROR_STATE, "the accumulators are clear");
  write(good);
  fixture::accumulate(trainer.get(), samples, true);
  EXPECT(fixture::step(trainer.get(), 0.01).step == 1, "no step was counted");

  const fixture::Model fresh = fixture::make_model(c);
  const fixture::Trainer other = fixture::make_trainer(fresh.get());
  fixture::accumulate(other.get(), samples, true);
  fixture::step(other.get(), 0.01);
  EXPECT(op_test::same_bits(fixture::read_adapter(model.get(), c),
                            fixture::read_adapter(fresh.get(), c)),
         "the next step is the first");
}

OP_TEST(calls_out_of_order_say_so) {
  const golden::Case c("mha_untied");
  const Samples samples = fixture::samples_of(c, 0);
  fixture::ModelOptions base_only;
  base_only.adapter = false;
  const fixture::Model model = fixture::make_model(c, base_only);
  qlora_train_config config;
  qlora_train_config_default(&config);
  qlora_trainer* raw = nullptr;
  char error[256] = "";
  EXPECT(qlora_trainer_create(model.get(), &config, &raw, error, sizeof error) == QLORA_ERROR_STATE,
         "no adapter");
  EXPECT(raw == nullptr && mentions(error, "qlora_model_attach_lora"), error);
  EXPECT(qlora_model_enable_lora(model.get(), 0) == QLORA_ERROR_STATE, "enable");

  const qlora_lora_config lora = fixture::lora_of(c);
  fixture::check(qlora_model_attach_lora(model.get(), &lora), qlora_model_error(model.get()));
  fixture::Trainer trainer = fixture::make_trainer(model.get());
  EXPECT(try_step(trainer.get()) == QLORA_ERROR_STATE, "nothing accumulated");
  EXPECT(qlora_model_attach_lora(model.get(), &lora) == QLORA_ERROR_STATE, "attach");
  EXPECT(qlora_model_detach_lora(model.get()) == QLORA_ERROR_STATE, "detach");
  EXPECT(qlora_trainer_create(model.get(), &config, &raw, error, sizeof error) == QLORA_ERROR_STATE,
         "a second trainer");
  fixture::check(qlora_model_enable_lora(model.get(), 0), "disable");
  EXPECT(try_accumulate(trainer.get(), samples) == QLORA_ERROR_STATE, "disabled adapter");
  fixture::check(qlora_model_enable_lora(model.get(), 1), "enable");
  EXPECT(try_step(trainer.get(), -1) == QLORA_ERROR_INVALID_ARGUMENT, "learning rate");
  fixture::accumulate(trainer.get(), samples, true);
  trainer.reset();
  fixture::check(qlora_model_detach_lora(model.get()), qlora_model_error(model.get()));
}

OP_TEST(batches_are_checked) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  fixture::TrainOptions options;
  options.max_tokens = 60;
  const fixture::Trainer trainer = fixture::make_trainer(model.get(), options);
  const Samples samples = fixture::samples_of(c, 0);
  const auto expect_refused = [&](const char* part, void (*spoil)(fixture::Packed&, qlora_batch&)) {
    fixture::Packed packed = fixture::pack(samples.pick({0, 1}), true);
    qlora_batch batch = packed.view();
    spoil(packed, batch);
    qlora_batch_result result{};
    result.struct_size = sizeof result;
    const qlora_status status = qlora_trainer_accumulate(trainer.get(), &batch, nullptr, &result);
    EXPECT(status == QLORA_ERROR_INVALID_ARGUMENT, part);
    const char* message = qlora_trainer_error(trainer.get());
    EXPECT(mentions(message, part), std::string(part) + " in: " + message);
  };
  using P = fixture::Packed;
  using B = qlora_batch;
  expect_refused("token_ids[3]", [](P& p, B&) { p.tokens[3] = 80; });
  expect_refused("token_ids[0]", [](P& p, B&) { p.tokens[0] = -1; });
  expect_refused("cu_seqlens[0]", [](P& p, B&) { p.cu_seqlens[0] = 0; });
  expect_refused("cu_seqlens[1]", [](P& p, B&) { p.cu_seqlens[1] = 1; });
  expect_refused("cu_seqlens[2]", [](P& p, B&) { --p.cu_seqlens[2]; });
  expect_refused("target_rows[1]", [](P& p, B&) { p.rows[1] = 1000; });
  expect_refused("target_rows[2]", [](P& p, B&) { p.rows[2] = 0; });
  expect_refused("target_ids[0]", [](P& p, B&) { p.ids[0] = 80; });
  expect_refused("target_weights[1]", [](P& p, B&) { p.weights[1] = -1; });
  expect_refused("target_weights[1]", [](P& p, B&) { p.weights[1] = std::nanf(""); });
  expect_refused("sequence_keys[1]", [](P& p, B&) { p.keys[1] = -1; });
  expect_refused("struct_size", [](P&, B& b) { b.struct_size = 4; });
  expect_refused("prefix_length", [](P&, B& b) { b.prefix_length = 1000; });
  expect_refused("NULL", [](P&, B& b) { b.token_ids = nullptr; });
  EXPECT(try_accumulate(trainer.get(), samples) == QLORA_ERROR_INVALID_ARGUMENT, "capacity");
  EXPECT(mentions(qlora_trainer_error(trainer.get()), "max_tokens"), "message");

  Samples endless = samples;
  endless.samples = {std::vector<int32_t>(58, 1)};
  endless.keys = {1};
  endless.targets = {{0, 20, 1.0f}};
  std::vector<float> nll(1);
  const fixture::Packed packed = fixture::pack(endless, true);
  const qlora_batch batch = packed.view();
  EXPECT(qlora_model_evaluate(model.get(), &batch, nll.data()) == QLORA_ERROR_INVALID_ARGUMENT, "");
  EXPECT(mentions(qlora_model_error(model.get()), "max_position"), qlora_model_error(model.get()));
}

OP_TEST(an_overlapping_call_is_busy) {
  const golden::Case c("gqa2_tied_llama3");
  const Samples samples = fixture::samples_of(c, 0);
  const fixture::Model model = fixture::make_model(c);
  const fixture::Trainer trainer = fixture::make_trainer(model.get());
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0};
  std::thread other([&] {
    while (!stop.load()) {
      if (try_accumulate(trainer.get(), samples) == QLORA_ERROR_BUSY) ++refused;
    }
  });
  bool seen = false;
  const auto begin = std::chrono::steady_clock::now();
  while (!seen && std::chrono::steady_clock::now() - begin < std::chrono::seconds(20)) {
    qlora_memory_report report = empty_report();
    seen = qlora_model_memory(model.get(), &report) == QLORA_ERROR_BUSY;
  }
  stop = true;
  other.join();
  EXPECT(seen || refused.load() > 0, "no overlapping call was refused");
  fixture::check(qlora_trainer_reset_gradients(trainer.get()), "usable afterwards");
}

OP_TEST(the_plan_is_what_a_run_allocates) {
  for (const std::string& name : golden::case_names()) {
    const golden::Case c(name);
    for (const int recompute : {QLORA_RECOMPUTE_NONE, QLORA_RECOMPUTE_FULL, QLORA_RECOMPUTE_AUTO}) {
      const qlora_model_config config = fixture::config_of(c);
      const qlora_lora_config lora = fixture::lora_of(c);
      qlora_train_config train;
      qlora_train_config_default(&train);
      train.max_tokens = 256;
      train.max_sequences = 16;
      train.max_targets = 256;
      train.recompute = recompute;
      qlora_memory_report plan = empty_report();
      char error[512] = "";
      fixture::check(qlora_plan_training(&config, &lora, &train, &plan, error, sizeof error),
                     error);

      const fixture::Model model = fixture::make_model(c);
      fixture::TrainOptions options;
      options.recompute = recompute;
      const fixture::Trainer trainer = fixture::make_trainer(model.get(), options);
      qlora_memory_report real = empty_report();
      fixture::check(qlora_model_memory(model.get(), &real), "");
      EXPECT(plan.kept_layers == real.kept_layers && plan.whole_layers == real.whole_layers, name);
      EXPECT(plan.resident == real.resident && plan.host == real.host, name);
      EXPECT(plan.context == real.context,
             name + " " + std::to_string(plan.context) + " " + std::to_string(real.context));
      EXPECT(plan.embeddings == real.embeddings, name);
      EXPECT(plan.base == real.base && plan.constants == real.constants, name);
      EXPECT(plan.lora == real.lora && plan.optimizer == real.optimizer, name);
      EXPECT(plan.activations == real.activations, name);
      EXPECT(plan.workspace == real.workspace,
             name + " " + std::to_string(plan.workspace) + " " + std::to_string(real.workspace));
      EXPECT(plan.total == real.total, name);
    }
  }
}

OP_TEST(a_plan_over_the_budget_names_what_fits) {
  const golden::Case c("llama_nf4_double");
  qlora_model_config config = fixture::config_of(c);
  const qlora_lora_config lora = fixture::lora_of(c);
  qlora_train_config train;
  qlora_train_config_default(&train);
  train.max_tokens = 4096;
  train.max_sequences = 8;
  train.max_targets = 4096;
  config.memory_budget = fixture::device_overhead(config) + 4000000;
  qlora_memory_report report = empty_report();
  char error[512] = "";
  EXPECT(qlora_plan_training(&config, &lora, &train, &report, error, sizeof error) ==
             QLORA_ERROR_OUT_OF_MEMORY,
         error);
  EXPECT(report.total > config.memory_budget, "the report is filled all the same");
  const std::string text = error;
  const size_t at = text.rfind("is ");
  EXPECT(at != std::string::npos && mentions(error, "max_tokens"), text);
  const int32_t fits = std::stoi(text.substr(at + 3));
  EXPECT(fits > 0 && fits < 4096, text);
  train.max_tokens = fits;
  train.max_targets = fits;
  fixture::check(qlora_plan_training(&config, &lora, &train, &report, error, sizeof error), error);
  EXPECT(report.kept_layers >= 1 && report.total <= config.memory_budget, "the advice fits");

  // A budget between full recompute and none keeps some of the layers.
  train.max_tokens = 256;
  train.max_targets = 256;
  config.memory_budget = 0;
  qlora_memory_report kept = empty_report();
  train.recompute = QLORA_RECOMPUTE_FULL;
  fixture::check(qlora_plan_training(&config, &lora, &train, &report, error, sizeof error), error);
  train.recompute = QLORA_RECOMPUTE_NONE;
  fixture::check(qlora_plan_training(&config, &lora, &train, &kept, error, sizeof error), error);
  EXPECT(report.kept_layers == 1 && kept.kept_layers == 2, "layers kept");
  EXPECT(kept.activations > report.activations, "keeping takes memory");
}
