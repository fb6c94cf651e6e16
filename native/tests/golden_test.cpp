// Against PyTorch, transformers, PEFT and bitsandbytes: tests/golden/make.py made the vectors.
//
// Tolerances of the CPU build: both sides compute in fp32, whose rounding is 6e-8; sums of up to a
// few hundred terms in another order, through two layers, leave about 1e-6 of the largest value.
// 1e-5 leaves room for other instruction sets. Ten optimiser steps amplify it: AdamW divides by √v,
// so that parameters whose gradient is near zero move by a rounding error's sign; 1e-3 of the
// largest parameter or gradient norm there, 1e-4 for losses. Values stored in f16 add its rounding,
// 2⁻¹¹. The CUDA build is held to twice naive bf16's error (fixture.h). NF4 is compared bit for
// bit.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>

#include "fixture.h"

using fixture::Loading;
using fixture::Samples;

namespace {

constexpr double kTolerance = 1e-5;
constexpr double kLossTolerance = 1e-4;
constexpr double kTrainedTolerance = 1e-3;
constexpr double kHalfRounding = 1.0 / 2048;
constexpr int kBatches = 10;
constexpr int kLogitBatches = 4;
constexpr int kDropoutBatches = 3;
constexpr int kRotations = 5;  // runs of ten steps, each beginning one batch later

void for_each_case(void (*work)(const golden::Case&)) {
  for (const std::string& name : golden::case_names()) work(golden::Case(name));
}

void expect_within(double error, double tolerance, const std::string& what) {
  EXPECT(error <= tolerance, what + ": relative error " + std::to_string(error * 1e6) + "e-6");
}

// One result over several batches or runs. In fp32 each is within its tolerance; in bf16 their root
// mean square error is within twice naive bf16's, because one batch's error is a matter of luck.
class Comparison {
 public:
  void add(const std::vector<float>& got, const std::vector<float>& want, double tolerance) {
    if (fixture::kBf16) {
      const double error = fixture::relative_error(got, want);
      squares_ += error * error;
    } else {
      worst_ = std::max(worst_, fixture::difference(got, want) / tolerance);
    }
    ++count_;
  }
  void expect(const golden::Case& c, const std::string& result) const {
    EXPECT(count_ > 0, c.name + " " + result + " was not compared");
    if (!fixture::kBf16) {
      EXPECT(worst_ <= 1,
             c.name + " " + result + ": " + std::to_string(worst_) + " times the tolerance");
      return;
    }
    EXPECT(share(c, result) <= 2, c.name + " " + result + ": error " + std::to_string(error()) +
                                      ", naive bf16's " + std::to_string(c.naive_error(result)));
  }
  double error() const { return std::sqrt(squares_ / count_); }
  // Of naive bf16's error.
  double share(const golden::Case& c, const std::string& result) const {
    return error() / c.naive_error(result);
  }

 private:
  int count_ = 0;
  double worst_ = 0;
  double squares_ = 0;
};
using Comparisons = std::map<std::string, Comparison>;

// Checks all and, in bf16, prints the largest share of naive bf16's error: the figures of parity.
void expect_all(const golden::Case& c, const Comparisons& comparisons, const char* what) {
  double largest = 0;
  std::string of;
  for (const auto& entry : comparisons) {
    entry.second.expect(c, entry.first);
    if (!fixture::kBf16) continue;
    const double share = entry.second.share(c, entry.first);
    if (share >= largest) {
      largest = share;
      of = entry.first;
    }
  }
  if (fixture::kBf16) {
    std::printf("    parity %-17s %-14s %.2f × naive bf16's error (%s)\n", c.name.c_str(), what,
                largest, of.c_str());
  }
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

// As the library holds dequantised values: rounded to bf16, ties to even, in the CUDA build.
std::vector<float> stored(std::vector<float> values) {
  if (!fixture::kBf16) return values;
  for (float& value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    std::memcpy(&value, &bits, sizeof bits);
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
        EXPECT(op_test::same_bits(got, stored(want)), c.name + " " + name);
      }
    }
  });
}

OP_TEST(golden_logits_and_loss) {
  for_each_case([](const golden::Case& c) {
    const fixture::Model model = fixture::make_model(c);
    const size_t vocabulary = static_cast<size_t>(c.number("vocab"));
    for (const bool share : {true, false}) {
      Comparisons results;
      for (int b = 0; b < kLogitBatches; ++b) {
        const std::vector<float> want =
            b == 0 ? c.tensor("logits").floats() : c.tensor("more_logits").slice(b - 1);
        const fixture::Packed packed = fixture::pack(fixture::samples_of(c, b), share);
        const qlora_batch batch = packed.view();
        std::vector<float> logits(want.size());
        fixture::check(qlora_model_logits(model.get(), &batch, logits.data()),
                       qlora_model_error(model.get()));
        std::vector<float> ordered(logits.size());
        for (size_t i = 0; i < packed.order.size(); ++i) {
          std::memcpy(&ordered[packed.order[i] * vocabulary], &logits[i * vocabulary],
                      vocabulary * sizeof(float));
        }
        results["logits"].add(ordered, want, b == 0 ? kTolerance : kTolerance + kHalfRounding);
      }
      for (int i = 0; i < kBatches; ++i) {
        results["nll"].add(fixture::evaluate(model.get(), fixture::samples_of(c, i), share),
                           i == 0 ? c.tensor("nll").floats() : c.tensor("nlls").slice(i - 1),
                           kTolerance);
      }
      expect_all(c, results, "logits, nll");
    }
  });
}

OP_TEST(golden_gradients) {
  for_each_case([](const golden::Case& c) {
    for (const bool share : {true, false}) {
      Comparisons results;
      const fixture::Model model = fixture::make_model(c);
      const fixture::Trainer trainer = fixture::make_trainer(model.get());
      for (int i = 0; i < kBatches; ++i) {
        fixture::accumulate(trainer.get(), fixture::samples_of(c, i), share);
        for (const std::string& name : c.names("grad.")) {
          const std::vector<float> want =
              i == 0 ? c.tensor("grad." + name).floats() : c.tensor("grads." + name).slice(i - 1);
          results["grad." + name].add(
              fixture::read_gradient(trainer.get(), name, static_cast<int64_t>(want.size())), want,
              i == 0 ? kTolerance : kTolerance + kHalfRounding);
        }
        fixture::check(qlora_trainer_reset_gradients(trainer.get()), "reset");
      }
      expect_all(c, results, "gradients");
    }
  });
}

// PyTorch with the library's own masks: the prefix's rows drawn once, every sample's by its key.
OP_TEST(golden_gradients_under_dropout) {
  for_each_case([](const golden::Case& c) {
    fixture::ModelOptions options;
    options.dropout = c.number("dropout");
    fixture::TrainOptions train;
    train.dropout_seed = static_cast<uint64_t>(c.number("dropout_seed"));
    const fixture::Model model = fixture::make_model(c, options);
    const fixture::Trainer trainer = fixture::make_trainer(model.get(), train);
    Comparisons results;
    for (int i = 0; i < kDropoutBatches; ++i) {
      fixture::accumulate(trainer.get(), fixture::samples_of(c, i), true);
      std::vector<float> want;
      for (const std::string& name : c.names("dropout_grads.")) {
        const std::vector<float> part = c.tensor("dropout_grads." + name).slice(i);
        want.insert(want.end(), part.begin(), part.end());
      }
      results["dropout_grad"].add(fixture::read_gradients(trainer.get(), c), want,
                                  kTolerance + kHalfRounding);
      fixture::check(qlora_trainer_reset_gradients(trainer.get()), "reset");
    }
    expect_all(c, results, "under dropout");
  });
}

OP_TEST(golden_ten_steps) {
  for_each_case([](const golden::Case& c) {
    Comparisons results;
    for (int first = 0; first < kRotations; ++first) {
      const fixture::Model model = fixture::make_model(c);
      fixture::TrainOptions options;
      options.max_grad_norm = c.number("max_grad_norm");
      options.weight_decay = c.number("weight_decay");
      options.epsilon = c.number("epsilon");
      const fixture::Trainer trainer = fixture::make_trainer(model.get(), options);
      std::vector<float> losses;
      std::vector<float> norms;
      for (int i = 0; i < kBatches; ++i) {
        fixture::accumulate(trainer.get(), fixture::samples_of(c, (first + i) % kBatches), true);
        const qlora_step_result result = fixture::step(trainer.get(), c.number("learning_rate"));
        EXPECT(result.step == i + 1, c.name);
        EXPECT((result.clipped == 1) == (result.grad_norm > options.max_grad_norm), c.name);
        losses.push_back(static_cast<float>(result.loss));
        norms.push_back(static_cast<float>(result.grad_norm));
      }
      const auto want = [&](const std::string& name) {
        return first == 0 ? c.tensor(name).floats() : c.tensor("rotated." + name).slice(first - 1);
      };
      results["losses"].add(losses, want("losses"), kLossTolerance);
      results["grad_norms"].add(norms, want("grad_norms"), kTrainedTolerance);
      for (const std::string& name : c.names("final.")) {
        std::vector<float> got(static_cast<size_t>(c.tensor("final." + name).count()));
        fixture::check(qlora_model_read_lora(model.get(), name.c_str(), got.data(),
                                             static_cast<int64_t>(got.size())),
                       qlora_model_error(model.get()));
        results["final." + name].add(got, want("final." + name),
                                     kTrainedTolerance + (first == 0 ? 0 : kHalfRounding));
      }
    }
    expect_all(c, results, "ten steps");
  });
}
