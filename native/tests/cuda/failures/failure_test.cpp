// Failures on a GPU through the ABI: memory that cannot be had, then a GPU that is lost. The
// process lives on, the message says what to do, handles close. What fails before there is a GPU to
// use is in environment_test.cpp.
#include <string>

#include "crash.h"
#include "error.h"
#include "fixture.h"

namespace {

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

qlora_status try_create(const qlora_model_config& config, std::string& message) {
  qlora_model* raw = nullptr;
  char error[1024] = "";
  const qlora_status status = qlora_model_create(&config, &raw, error, sizeof error);
  qlora_model_destroy(raw);
  message = error;
  return status;
}

std::vector<float> gradients_of(qlora_model* model, const golden::Case& c) {
  const fixture::Trainer trainer = fixture::make_trainer(model);
  fixture::accumulate(trainer.get(), fixture::samples_of(c, 0), true);
  return fixture::read_gradients(trainer.get(), c);
}

}  // namespace

OP_TEST(what_does_not_fit_is_refused_and_the_model_goes_on) {
  const golden::Case c("gqa2_tied_llama3");
  qlora_model_config config = fixture::config_of(c);
  config.num_layers = 100;  // 16 million tokens of it are more than any card holds
  const fixture::Model model = fixture::make_random_model(config, fixture::lora_of(c));
  const std::vector<float> before = gradients_of(model.get(), c);

  qlora_train_config train;
  qlora_train_config_default(&train);
  train.max_tokens = 1 << 24;
  train.max_targets = 1 << 24;
  train.recompute = QLORA_RECOMPUTE_NONE;
  qlora_trainer* raw = nullptr;
  char error[1024] = "";
  EXPECT(qlora_trainer_create(model.get(), &train, &raw, error, sizeof error) ==
             QLORA_ERROR_OUT_OF_MEMORY,
         error);
  EXPECT(raw == nullptr && mentions(error, "wanted") && mentions(error, "choose"), error);

  qlora_model_config giant = fixture::config_of(c);
  giant.num_layers = 4096;
  giant.hidden_size = 65536;
  giant.intermediate_size = 65536;
  std::string message;
  EXPECT(try_create(giant, message) == QLORA_ERROR_OUT_OF_MEMORY, message);
  EXPECT(mentions(message, "wanted"), message);

  EXPECT(op_test::same_bits(gradients_of(model.get(), c), before), "the model goes on");
}

// The card full to the last block: allocations themselves fail, behind every estimate.
OP_TEST(a_full_card_is_out_of_memory) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Model model = fixture::make_model(c);
  const std::vector<float> before = gradients_of(model.get(), c);
  {
    const std::unique_ptr<qlora::Device> device = qlora::Device::create(qlora::DeviceOptions());
    std::vector<void*> blocks;
    for (size_t size = size_t{1} << 32; size >= size_t{1} << 12; size /= 2) {
      try {
        for (;;) blocks.push_back(device->allocate(size));
      } catch (const qlora::Error& error) {
        EXPECT(error.status() == QLORA_ERROR_OUT_OF_MEMORY, error.what());
        EXPECT(mentions(error.what(), "out of GPU memory"), error.what());
      }
    }
    qlora_train_config train;
    qlora_train_config_default(&train);
    qlora_trainer* raw = nullptr;
    char error[1024] = "";
    EXPECT(qlora_trainer_create(model.get(), &train, &raw, error, sizeof error) ==
               QLORA_ERROR_OUT_OF_MEMORY,
           error);
    std::string message;
    EXPECT(try_create(fixture::config_of(c), message) == QLORA_ERROR_OUT_OF_MEMORY ||
               mentions(message, "memory"),
           message);
    for (void* block : blocks) device->release(block);
  }
  EXPECT(op_test::same_bits(gradients_of(model.get(), c), before), "the model goes on");
}

OP_TEST(a_device_that_is_not_there_is_named) {
  qlora_model_config config = fixture::config_of(golden::Case("mha_untied"));
  config.device = 4711;
  std::string message;
  EXPECT(try_create(config, message) == QLORA_ERROR_INVALID_ARGUMENT, message);
  EXPECT(mentions(message, "found 4711"), message);
}

// The last test of this program: no GPU is left for another.
OP_TEST(a_lost_gpu_is_told_by_every_call) {
  const golden::Case c("gqa2_tied_llama3");
  const fixture::Samples samples = fixture::samples_of(c, 0);
  fixture::Model model = fixture::make_model(c);
  fixture::Trainer trainer = fixture::make_trainer(model.get());
  fixture::accumulate(trainer.get(), samples, true);
  fixture::step(trainer.get(), 0.01);
  int64_t bytes = 0;
  fixture::check(qlora_trainer_state_bytes(trainer.get(), &bytes), "state");

  crash_the_gpu();

  // The call is made before its message is read.
  const auto expect_lost = [](const char* what, qlora_status status, const auto& message_of) {
    const std::string message = message_of();
    EXPECT(status == QLORA_ERROR_DEVICE, std::string(what) + ": " + std::to_string(status));
    EXPECT(mentions(message, "restart") && mentions(message, "checkpoint"),
           what + (": " + message));
  };
  const auto of_trainer = [&] { return qlora_trainer_error(trainer.get()); };
  const auto of_model = [&] { return qlora_model_error(model.get()); };
  const fixture::Packed packed = fixture::pack(samples, true);
  const qlora_batch batch = packed.view();
  for (int round = 0; round < 2; ++round) {
    qlora_batch_result result{};
    result.struct_size = sizeof result;
    expect_lost("accumulate", qlora_trainer_accumulate(trainer.get(), &batch, nullptr, &result),
                of_trainer);
    qlora_step_result step{};
    step.struct_size = sizeof step;
    expect_lost("step", qlora_trainer_step(trainer.get(), 0.01, &step), of_trainer);
    std::vector<char> state(static_cast<size_t>(bytes));
    expect_lost("export", qlora_trainer_export_state(trainer.get(), state.data(), bytes),
                of_trainer);
    std::vector<float> nll(samples.targets.size());
    expect_lost("evaluate", qlora_model_evaluate(model.get(), &batch, nll.data()), of_model);
    qlora_memory_report report{};
    report.struct_size = sizeof report;
    expect_lost("memory", qlora_model_memory(model.get(), &report), of_model);
    qlora_generator_config config;
    qlora_generator_config_default(&config);
    config.max_sequence_tokens = 20;
    config.max_prefix_tokens = 20;
    qlora_generator* generator = nullptr;
    char error[1024] = "";
    expect_lost("a generator",
                qlora_generator_create(model.get(), &config, &generator, error, sizeof error),
                [&] { return error; });
    std::string message;
    expect_lost("another model", try_create(fixture::config_of(c), message),
                [&] { return message; });
    char description[4096] = "";
    int64_t length = 0;
    expect_lost("describe", qlora_library_describe(description, sizeof description, &length),
                [&] { return description; });
  }
  trainer.reset();
  model.reset();
}
