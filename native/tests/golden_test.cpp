// Against PyTorch, transformers, PEFT and bitsandbytes: tests/golden/make.py made the vectors.
//
// Tolerances: both sides compute in fp32, whose rounding is 6e-8; sums of up to a few hundred terms
// in another order, through two layers, leave about 1e-6 of the largest value. 1e-5 leaves room for
// other instruction sets. Ten optimiser steps amplify it: AdamW divides by √v, so that parameters
// whose gradient is near zero move by a rounding error's sign; 1e-3 of the largest parameter or
// gradient norm there, 1e-4 for losses. NF4 is compared bit for bit.
#include <cmath>
#include <cstring>

#include "fixture.h"

using fixture::Loading;
using fixture::Samples;

namespace {

constexpr double kTolerance = 1e-5;
constexpr double kLossTolerance = 1e-4;
constexpr double kTrainedTolerance = 1e-3;

void for_each_case(void (*work)(const golden::Case&)) {
  for (const std::string& name : golden::case_names()) work(golden::Case(name));
}

void expect_within(double error, double tolerance, const std::string& what) {
  EXPECT(error <= tolerance, what + ": relative error " + std::to_string(error * 1e6) + "e-6");
}

std::vector<float> hashed_values(int64_t count) {
  std::vector<float> values;
  for (uint64_t i = 0; i < static_cast<uint64_t>(count); ++i) {
    const double uniform =
        static_cast<double>(i * 2654435761ull % (1ull << 32)) / 4294967296.0 - 0.5;
    values.push_back(static_cast<float>(uniform * static_cast<double>(1 + i / 64 % 7)));
  }
  return values;
}

}  // namespace

OP_TEST(golden_nf4_bytes) {
  const auto tensors = golden::read_safetensors(golden::path_of("nf4.safetensors"));
  for (const std::string& name : {std::string("odd"), std::string("large")}) {
    const int64_t blocks = tensors.at(name + ".absmax").count();
    const int64_t n = name == "odd" ? 101 : 64 * 600 + 32;
    const std::vector<float> values = hashed_values(n);
    std::vector<uint8_t> packed(static_cast<size_t>((n + 1) / 2));
    std::vector<float> absmax(static_cast<size_t>(blocks));
    fixture::check(qlora_nf4_quantize(values.data(), n, packed.data(), absmax.data()), name);
    EXPECT(packed == tensors.at(name + ".packed").bytes, name + ": packed bytes");
    EXPECT(absmax == tensors.at(name + ".absmax").floats(), name + ": absmax");

    std::vector<uint8_t> codes(static_cast<size_t>(blocks));
    std::vector<float> absmax2(static_cast<size_t>((blocks + 255) / 256));
    float offset = 0;
    fixture::check(
        qlora_absmax_quantize(absmax.data(), blocks, codes.data(), absmax2.data(), &offset), name);
    EXPECT(codes == tensors.at(name + ".absmax_codes").bytes, name + ": absmax codes");
    expect_within(fixture::difference(absmax2, tensors.at(name + ".absmax2").floats()), 1e-6,
                  name + ": absmax2");
    expect_within(fixture::difference({offset}, tensors.at(name + ".offset").floats()), 1e-6,
                  name + ": offset");
    std::vector<float> restored(static_cast<size_t>(blocks));
    fixture::check(
        qlora_absmax_dequantize(codes.data(), tensors.at(name + ".absmax2").floats().data(),
                                tensors.at(name + ".offset").floats()[0], blocks, restored.data()),
        name);
    EXPECT(restored == tensors.at(name + ".absmax_restored").floats(), name + ": restored absmax");

    std::vector<float> back(static_cast<size_t>(n));
    fixture::check(qlora_nf4_dequantize(packed.data(), absmax.data(), n, back.data()), name);
    // Half the widest gap between codes, times the block's largest value.
    for (size_t i = 0; i < back.size(); ++i) {
      EXPECT(std::abs(back[i] - values[i]) <= 0.16f * absmax[i / 64], name + ": round trip");
    }
  }
}

OP_TEST(golden_dequantized_weights) {
  for_each_case([](const golden::Case& c) {
    for (const Loading loading : {Loading::whole, Loading::bitsandbytes_parts}) {
      if (c.text("quantization") == "none") continue;
      fixture::ModelOptions options;
      options.loading = loading;
      const fixture::Model model = fixture::make_model(c, options);
      for (const std::string& name : c.names("dequantized.")) {
        const std::vector<float> want = c.tensor("dequantized." + name).floats();
        std::vector<float> got(want.size());
        fixture::check(qlora_model_read_tensor(model.get(), name.c_str(), got.data(),
                                               static_cast<int64_t>(got.size())),
                       qlora_model_error(model.get()));
        EXPECT(op_test::same_bits(got, want), c.name + " " + name);
      }
    }
  });
}

OP_TEST(golden_logits_and_loss) {
  for_each_case([](const golden::Case& c) {
    const fixture::Model model = fixture::make_model(c);
    const Samples samples = fixture::samples_of(c, 0);
    const std::vector<float> want_logits = c.tensor("logits").floats();
    const size_t vocabulary = static_cast<size_t>(c.number("vocab"));
    for (const bool share : {true, false}) {
      const fixture::Packed packed = fixture::pack(samples, share);
      const qlora_batch batch = packed.view();
      std::vector<float> logits(want_logits.size());
      fixture::check(qlora_model_logits(model.get(), &batch, logits.data()),
                     qlora_model_error(model.get()));
      std::vector<float> ordered(logits.size());
      for (size_t i = 0; i < packed.order.size(); ++i) {
        std::memcpy(&ordered[packed.order[i] * vocabulary], &logits[i * vocabulary],
                    vocabulary * sizeof(float));
      }
      expect_within(fixture::difference(ordered, want_logits), kTolerance, c.name + " logits");
      expect_within(fixture::difference(fixture::evaluate(model.get(), samples, share),
                                        c.tensor("nll").floats()),
                    kTolerance, c.name + " nll");
    }
  });
}

OP_TEST(golden_gradients) {
  for_each_case([](const golden::Case& c) {
    const Samples samples = fixture::samples_of(c, 0);
    for (const bool share : {true, false}) {
      const fixture::Model model = fixture::make_model(c);
      const fixture::Trainer trainer = fixture::make_trainer(model.get());
      fixture::accumulate(trainer.get(), samples, share);
      for (const std::string& name : c.names("grad.")) {
        const std::vector<float> want = c.tensor("grad." + name).floats();
        std::vector<float> got(want.size());
        fixture::check(qlora_trainer_read_gradient(trainer.get(), name.c_str(), got.data(),
                                                   static_cast<int64_t>(got.size())),
                       qlora_trainer_error(trainer.get()));
        expect_within(fixture::difference(got, want), kTolerance, c.name + " " + name);
      }
    }
  });
}

OP_TEST(golden_ten_steps) {
  for_each_case([](const golden::Case& c) {
    const fixture::Model model = fixture::make_model(c);
    fixture::TrainOptions options;
    options.max_grad_norm = c.number("max_grad_norm");
    options.weight_decay = c.number("weight_decay");
    options.epsilon = c.number("epsilon");
    const fixture::Trainer trainer = fixture::make_trainer(model.get(), options);
    std::vector<float> losses;
    std::vector<float> norms;
    for (int i = 0; i < 10; ++i) {
      fixture::accumulate(trainer.get(), fixture::samples_of(c, i), true);
      const qlora_step_result result = fixture::step(trainer.get(), c.number("learning_rate"));
      EXPECT(result.step == i + 1, c.name);
      EXPECT((result.clipped == 1) == (result.grad_norm > options.max_grad_norm), c.name);
      losses.push_back(static_cast<float>(result.loss));
      norms.push_back(static_cast<float>(result.grad_norm));
    }
    expect_within(fixture::difference(losses, c.tensor("losses").floats()), kLossTolerance,
                  c.name + " losses");
    expect_within(fixture::difference(norms, c.tensor("grad_norms").floats()), kTrainedTolerance,
                  c.name + " gradient norms");
    for (const std::string& name : c.names("final.")) {
      const std::vector<float> want = c.tensor("final." + name).floats();
      std::vector<float> got(want.size());
      fixture::check(qlora_model_read_lora(model.get(), name.c_str(), got.data(),
                                           static_cast<int64_t>(got.size())),
                     qlora_model_error(model.get()));
      expect_within(fixture::difference(got, want), kTrainedTolerance, c.name + " " + name);
    }
  });
}
