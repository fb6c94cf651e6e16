// The ABI's manners: defaults, sizes, messages, checked names and shapes, memory.
#include <cstring>
#include <string>

#include "fixture.h"

extern "C" int qlora_header_is_c(void);

namespace {

qlora_status load(qlora_model* model, const char* name, int dtype, std::vector<int64_t> shape,
                  int64_t bytes) {
  const std::vector<char> zeros(static_cast<size_t>(bytes) + 1);
  return qlora_model_load_tensor(model, name, dtype, shape.data(),
                                 static_cast<int32_t>(shape.size()), zeros.data(), bytes);
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

fixture::Model empty_model(const golden::Case& c, int quantization = -1) {
  qlora_model_config config = fixture::config_of(c);
  if (quantization >= 0) config.quantization = quantization;
  qlora_model* raw = nullptr;
  char error[256] = "";
  fixture::check(qlora_model_create(&config, &raw, error, sizeof error), error);
  return fixture::Model(raw);
}

}  // namespace

OP_TEST(versions_and_sizes) {
  EXPECT(qlora_abi_version() == QLORA_ABI_VERSION, "");
  EXPECT(qlora_header_is_c() == qlora_sizeof_model_config(), "C and C++ agree");
  EXPECT(qlora_sizeof_batch() == sizeof(qlora_batch), "");
  qlora_model_config model;
  qlora_model_config_default(&model);
  qlora_lora_config lora;
  qlora_lora_config_default(&lora);
  qlora_train_config train;
  qlora_train_config_default(&train);
  qlora_generator_config generator;
  qlora_generator_config_default(&generator);
  qlora_sampling sampling;
  qlora_sampling_default(&sampling);
  EXPECT(model.struct_size == qlora_sizeof_model_config(), "");
  EXPECT(lora.struct_size == qlora_sizeof_lora_config(), "");
  EXPECT(train.struct_size == qlora_sizeof_train_config(), "");
  EXPECT(generator.struct_size == qlora_sizeof_generator_config(), "");
  EXPECT(sampling.struct_size == qlora_sizeof_sampling(), "");
  EXPECT(lora.rank == 16 && lora.alpha == 32 && lora.target_modules == 127, "");
  EXPECT(train.recompute == QLORA_RECOMPUTE_AUTO && train.beta2 == 0.999, "");
}

OP_TEST(describe_is_cut_to_the_buffer) {
  int64_t length = 0;
  fixture::check(qlora_library_describe(nullptr, 0, &length), "length");
  std::string whole(static_cast<size_t>(length) + 1, 'x');
  fixture::check(qlora_library_describe(&whole[0], length + 1, &length), "whole");
  EXPECT(std::strlen(whole.c_str()) == static_cast<size_t>(length), whole);
  const char* const backend = fixture::kBf16 ? "\"backend\":\"cuda\"" : "\"backend\":\"cpu\"";
  EXPECT(whole[0] == '{' && mentions(whole, backend), whole);
  char small[8];
  std::memset(small, 'x', sizeof small);
  fixture::check(qlora_library_describe(small, 4, &length), "small");
  EXPECT(std::strlen(small) == 3 && small[4] == 'x', "stays inside the buffer");
}

OP_TEST(configs_are_checked) {
  const golden::Case c("mha_untied");
  const auto expect_refused = [&](const char* part, void (*spoil)(qlora_model_config&)) {
    qlora_model_config config = fixture::config_of(c);
    spoil(config);
    qlora_model* raw = nullptr;
    char error[256] = "";
    EXPECT(qlora_model_create(&config, &raw, error, sizeof error) == QLORA_ERROR_INVALID_ARGUMENT,
           part);
    EXPECT(raw == nullptr && mentions(error, part), std::string(part) + " in: " + error);
  };
  expect_refused("struct_size", [](qlora_model_config& m) { m.struct_size = 0; });
  expect_refused("hidden_size", [](qlora_model_config& m) { m.hidden_size = 0; });
  expect_refused("num_kv_heads", [](qlora_model_config& m) { m.num_kv_heads = 3; });
  expect_refused("head_dim", [](qlora_model_config& m) { m.head_dim = 7; });
  expect_refused("rope_theta", [](qlora_model_config& m) { m.rope_theta = -1; });
  expect_refused("quantization", [](qlora_model_config& m) { m.quantization = 9; });
  expect_refused("rms_norm_eps", [](qlora_model_config& m) { m.rms_norm_eps = 0; });
  expect_refused("host_memory", [](qlora_model_config& m) { m.host_memory = 8; });
  expect_refused("memory_budget", [](qlora_model_config& m) { m.memory_budget = -1; });
  char tiny[12];
  EXPECT(qlora_model_create(nullptr, nullptr, tiny, sizeof tiny) == QLORA_ERROR_INVALID_ARGUMENT,
         "NULL");
  EXPECT(std::strlen(tiny) < sizeof tiny, "the message is cut to its buffer");
  qlora_model_destroy(nullptr);
  qlora_trainer_destroy(nullptr);
  qlora_generator_destroy(nullptr);
}

OP_TEST(tensors_are_checked) {
  const golden::Case c("mha_untied");
  const fixture::Model model = empty_model(c);
  qlora_model* m = model.get();
  const char* const q = "model.layers.0.self_attn.q_proj.weight";
  EXPECT(qlora_model_finalize(m) == QLORA_ERROR_STATE, "nothing loaded");
  EXPECT(mentions(qlora_model_error(m), "model.embed_tokens.weight"), qlora_model_error(m));
  EXPECT(mentions(qlora_model_error(m), "21 tensors"), qlora_model_error(m));
  EXPECT(load(m, "model.layers.2.mlp.up_proj.weight", QLORA_F32, {56, 32}, 7168) ==
             QLORA_ERROR_INVALID_ARGUMENT,
         "a layer too many");
  EXPECT(mentions(qlora_model_error(m), "unknown tensor"), qlora_model_error(m));
  EXPECT(load(m, q, QLORA_F32, {32, 31}, 3968) == QLORA_ERROR_INVALID_ARGUMENT, "shape");
  EXPECT(mentions(qlora_model_error(m), "[32, 32]"), qlora_model_error(m));
  EXPECT(mentions(qlora_model_error(m), "[32, 31]"), qlora_model_error(m));
  EXPECT(load(m, q, QLORA_F32, {32, 32}, 4095) == QLORA_ERROR_INVALID_ARGUMENT, "bytes");
  EXPECT(load(m, q, 7, {32, 32}, 4096) == QLORA_ERROR_INVALID_ARGUMENT, "dtype");
  EXPECT(load(m, q, QLORA_U8, {512, 1}, 512) == QLORA_ERROR_INVALID_ARGUMENT, "4-bit part");
  EXPECT(mentions(qlora_model_error(m), "without quantisation"), qlora_model_error(m));
  EXPECT(load(m, q, QLORA_F16, {32, 32}, 2048) == QLORA_OK, qlora_model_error(m));
  EXPECT(load(m, q, QLORA_F16, {32, 32}, 2048) == QLORA_ERROR_INVALID_ARGUMENT, "twice");
  EXPECT(mentions(qlora_model_error(m), "already"), qlora_model_error(m));
  EXPECT(qlora_model_load_tensor(m, nullptr, 0, nullptr, 0, nullptr, 0) ==
             QLORA_ERROR_INVALID_ARGUMENT,
         "NULL");
  const qlora_lora_config lora = fixture::lora_of(c);
  EXPECT(qlora_model_attach_lora(m, &lora) == QLORA_ERROR_STATE, "before finalize");
  float value = 0;
  EXPECT(qlora_model_read_tensor(m, q, &value, 1) == QLORA_ERROR_STATE, "before finalize");

  const fixture::Model tied = empty_model(golden::Case("gqa2_tied_llama3"));
  EXPECT(load(tied.get(), "lm_head.weight", QLORA_F32, {80, 32}, 10240) ==
             QLORA_ERROR_INVALID_ARGUMENT,
         "tied");
  EXPECT(mentions(qlora_model_error(tied.get()), "ties"), qlora_model_error(tied.get()));
}

OP_TEST(bitsandbytes_parts_are_checked) {
  const golden::Case c("llama_nf4_double");
  const std::string weight = "model.layers.0.self_attn.q_proj.weight";
  const golden::Tensor absmax = c.tensor("bnb." + weight + ".absmax");
  {
    const fixture::Model model = empty_model(c, QLORA_QUANTIZATION_NF4);
    EXPECT(load(model.get(), (weight + ".absmax").c_str(), QLORA_U8, absmax.shape,
                absmax.count()) == QLORA_ERROR_INVALID_ARGUMENT,
           "double-quantised part of a model without");
    EXPECT(mentions(qlora_model_error(model.get()), "quantization is NF4"),
           qlora_model_error(model.get()));
  }
  const fixture::Model model = empty_model(c);
  const std::string state = "{\"quant_type\": \"nf4\", \"blocksize\": 128, \"shape\": [64, 64]}";
  const int64_t length = static_cast<int64_t>(state.size());
  EXPECT(qlora_model_load_tensor(model.get(), (weight + ".quant_state.bitsandbytes__nf4").c_str(),
                                 QLORA_U8, &length, 1, state.data(),
                                 length) == QLORA_ERROR_UNSUPPORTED,
         "block size");
  EXPECT(mentions(qlora_model_error(model.get()), "blocksize must be 64, found 128"),
         qlora_model_error(model.get()));
  EXPECT(load(model.get(), (weight + ".quant_map").c_str(), QLORA_F32, {16}, 64) ==
             QLORA_ERROR_UNSUPPORTED,
         "a map of zeros");
  // Whatever of a weight is absent is named.
  EXPECT(load(model.get(), weight.c_str(), QLORA_U8, {2048, 1}, 2048) == QLORA_OK, "packed");
  EXPECT(qlora_model_finalize(model.get()) == QLORA_ERROR_STATE, "");
}

OP_TEST(quant_state_is_read_strictly) {
  const golden::Case c("llama_nf4_double");
  const std::string weight = "model.layers.0.self_attn.q_proj.weight";
  const std::string good =
      R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [64, 64], )"
      R"("nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.5})";
  const auto status_of = [&](const std::string& state) {
    const fixture::Model model = empty_model(c);
    const int64_t length = static_cast<int64_t>(state.size());
    return qlora_model_load_tensor(model.get(), (weight + ".quant_state.bitsandbytes__nf4").c_str(),
                                   QLORA_U8, &length, 1, state.data(), length);
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string state = good;
    return state.replace(state.find(from), from.size(), to);
  };
  EXPECT(status_of(good) == QLORA_OK, "as bitsandbytes writes it");
  EXPECT(status_of(" " + good + "\n") == QLORA_OK, "white space");
  const std::string broken[] = {
      "",
      "{",
      "null",
      good + "x",
      good.substr(0, good.size() - 1),
      replaced("0.5}", "0.5,}"),
      replaced("0.5", "0.5x"),
      replaced("0.5", "1e999"),
      replaced("0.5", "NaN"),
      replaced("0.5", "\"0.5\""),
      replaced("\"nested_offset\": 0.5", "\"nested_offset\": [0.5]"),
      replaced(", \"nested_offset\": 0.5", ""),
      replaced("64, \"dtype", "64, \"blocksize\": 64, \"dtype"),
      replaced("[64, 64]", "[64, [64]]"),
      replaced("[64, 64]", "[64, 64, 1]"),
      replaced("[64, 64]", "[64, 064]"),
      replaced("\"nf4\"", "\"fp4\""),
      replaced("\"nf4\"", "\"n\\u0066 4\""),
      replaced("256", "128"),
      replaced("nested_dtype\": \"float32", "nested_dtype\": \"float16"),
      replaced("\"dtype\"", "\"offset\""),
      std::string("\0", 1) + good,
  };
  for (const std::string& state : broken) {
    EXPECT(status_of(state) != QLORA_OK, "accepted " + state);
  }
  // Cut anywhere or with any byte changed it is refused or means the same shape; it never crashes.
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT(status_of(good.substr(0, i)) != QLORA_OK, "cut at " + std::to_string(i));
    for (const char byte : {'\0', '"', '{', ']', ',', '9', '\\', '\xff'}) {
      std::string state = good;
      state[i] = byte;
      status_of(state);
    }
  }
}

// What is read back of a quantised model makes the same model again.
OP_TEST(quantised_parts_survive_a_round_trip) {
  for (const char* name : {"llama_nf4_double", "qwen2_bias_nf4"}) {
    const golden::Case c(name);
    const fixture::Model model = fixture::make_model(c);
    for (const std::string& part : c.names("bnb.")) {
      const golden::Tensor& want = c.tensor("bnb." + part);
      const bool table = part.find("quant_map") != std::string::npos;
      if (table || part.find("quant_state") != std::string::npos) continue;
      std::vector<unsigned char> got(want.bytes.size());
      const qlora_status status = qlora_model_read_part(model.get(), part.c_str(), got.data(),
                                                        static_cast<int64_t>(got.size()));
      fixture::check(status, qlora_model_error(model.get()));
      EXPECT(got == want.bytes, part + " differs from bitsandbytes'");
    }
  }
  const golden::Case c("llama_nf4_double");
  const fixture::Model model = fixture::make_model(c);
  const std::string weight = "model.layers.0.self_attn.q_proj.weight";
  float offset = 0;
  EXPECT(qlora_model_read_part(model.get(), (weight + ".nested_offset").c_str(), &offset, 4) ==
             QLORA_OK,
         qlora_model_error(model.get()));
  EXPECT(offset > 0, "the mean of absmax");
  char byte = 0;
  EXPECT(
      qlora_model_read_part(model.get(), weight.c_str(), &byte, 1) == QLORA_ERROR_INVALID_ARGUMENT,
      "size");
  EXPECT(mentions(qlora_model_error(model.get()), "2048 bytes"), qlora_model_error(model.get()));
  for (const char* wrong : {"model.norm.weight", "model.layers.9.mlp.up_proj.weight", "", "x",
                            "model.layers.0.self_attn.q_proj.weight.quant_map"}) {
    EXPECT(qlora_model_read_part(model.get(), wrong, &byte, 1) == QLORA_ERROR_INVALID_ARGUMENT,
           wrong);
  }
}

OP_TEST(checksum_is_xxh64) {
  const auto of = [](const std::string& text) {
    uint64_t hash = 0;
    EXPECT(qlora_checksum(text.data(), static_cast<int64_t>(text.size()), &hash) == QLORA_OK, "");
    return hash;
  };
  EXPECT(of("") == 0xEF46DB3751D8E999u, "empty");
  EXPECT(of("a") == 0xD24EC4F1A98C6E5Bu, "a");
  EXPECT(of("abc") == 0x44BC2CF5AD770999u, "abc");
  EXPECT(of("0123456789abcdef0123456789abcdef0123456789abcdef0123456") == 0x7C86E939D2BD9541u,
         "55 bytes");
  uint64_t hash = 0;
  EXPECT(qlora_checksum(nullptr, 1, &hash) == QLORA_ERROR_INVALID_ARGUMENT, "NULL");
}

OP_TEST(adapter_tensors_are_checked) {
  const golden::Case c("gqa4_one_sample");  // q_proj and v_proj only
  const fixture::Model model = fixture::make_model(c);
  std::vector<float> values(1000);
  EXPECT(qlora_model_read_lora(model.get(), "model.layers.0.mlp.up_proj.lora_A.weight",
                               values.data(), 100) == QLORA_ERROR_INVALID_ARGUMENT,
         "not targeted");
  EXPECT(qlora_model_read_lora(model.get(), "model.layers.0.self_attn.q_proj.lora_A.weight",
                               values.data(), 100) == QLORA_ERROR_INVALID_ARGUMENT,
         "count");
  EXPECT(mentions(qlora_model_error(model.get()), "216"), qlora_model_error(model.get()));

  // A fresh adapter: A uniform within ±1/√in, B zero.
  qlora_lora_config lora = fixture::lora_of(c);
  fixture::check(qlora_model_attach_lora(model.get(), &lora), qlora_model_error(model.get()));
  values.resize(216);
  const char* const a = "model.layers.1.self_attn.q_proj.lora_A.weight";
  fixture::check(qlora_model_read_lora(model.get(), a, values.data(), 216), "A");
  float largest = 0;
  for (const float v : values) largest = std::max(largest, std::abs(v));
  EXPECT(largest <= 1.0f / 6 && largest > 0.12f, std::to_string(largest));
  const std::vector<float> first = values;
  fixture::check(qlora_model_attach_lora(model.get(), &lora), "again");
  fixture::check(qlora_model_read_lora(model.get(), a, values.data(), 216), "A");
  EXPECT(values == first, "one seed, one A");
  lora.seed = 5;
  fixture::check(qlora_model_attach_lora(model.get(), &lora), "other seed");
  fixture::check(qlora_model_read_lora(model.get(), a, values.data(), 216), "A");
  EXPECT(values != first, "another seed, another A");
  values.resize(240);
  fixture::check(qlora_model_read_lora(model.get(), "model.layers.1.self_attn.q_proj.lora_B.weight",
                                       values.data(), 240),
                 "B");
  EXPECT(values == std::vector<float>(240), "B is zero");
  lora.rank = 0;
  EXPECT(qlora_model_attach_lora(model.get(), &lora) == QLORA_ERROR_INVALID_ARGUMENT, "rank");
}

OP_TEST(a_random_model_is_reproducible) {
  for (const char* name : {"mha_untied", "llama_nf4_double", "qwen3_norm"}) {
    const golden::Case c(name);
    std::vector<float> results[2];
    for (std::vector<float>& result : results) {
      const fixture::Model model = empty_model(c);
      fixture::check(qlora_model_load_random(model.get(), 3, 0.02), qlora_model_error(model.get()));
      fixture::check(qlora_model_finalize(model.get()), qlora_model_error(model.get()));
      result = fixture::evaluate(model.get(), fixture::samples_of(c, 0), true);
      std::vector<float> norm(static_cast<size_t>(c.number("hidden")));
      fixture::check(qlora_model_read_tensor(model.get(), "model.norm.weight", norm.data(),
                                             static_cast<int64_t>(norm.size())),
                     "norm");
      EXPECT(norm == std::vector<float>(norm.size(), 1.0f), name);
    }
    EXPECT(op_test::same_bits(results[0], results[1]), name);
    // Small random weights predict next to nothing: about log V.
    EXPECT(std::abs(results[0][0] - std::log(80.0f)) < 0.5f, std::to_string(results[0][0]));
  }
}

OP_TEST(memory_is_given_back) {
  const golden::Case c("mha_untied");
  const fixture::Model model = fixture::make_model(c);
  qlora_memory_report before{};
  before.struct_size = sizeof before;
  fixture::evaluate(model.get(), fixture::samples_of(c, 0), true);
  fixture::Trainer trainer = fixture::make_trainer(model.get());
  trainer.reset();
  fixture::check(qlora_model_memory(model.get(), &before), "");
  trainer = fixture::make_trainer(model.get());
  qlora_memory_report during = before;
  fixture::check(qlora_model_memory(model.get(), &during), "");
  EXPECT(during.optimizer > 0 && during.activations > 0 && during.kept_layers == 2, "");
  trainer.reset();
  qlora_memory_report after = before;
  fixture::check(qlora_model_memory(model.get(), &after), "");
  EXPECT(after.total == before.total && after.optimizer == 0, "");

  qlora_model_config config = fixture::config_of(c);
  config.memory_budget = 10000;
  qlora_model* raw = nullptr;
  char error[256] = "";
  EXPECT(qlora_model_create(&config, &raw, error, sizeof error) == QLORA_ERROR_OUT_OF_MEMORY, "");
  EXPECT(mentions(error, "wanted") && mentions(error, "10.0 kB"), error);
}

OP_TEST(the_device_rates_are_positive_and_sized) {
  char error[256] = "";
  qlora_device_rates rates = {};
  EXPECT(qlora_device_measure(0, 1, &rates, error, sizeof error) == QLORA_ERROR_INVALID_ARGUMENT,
         "struct_size is checked");
  EXPECT(mentions(error, "qlora_device_rates"), error);
  EXPECT(rates.product_flops == 0, "nothing is written on failure");
  rates.struct_size = sizeof rates;
  fixture::check(qlora_device_measure(0, 1, &rates, error, sizeof error), error);
  EXPECT(rates.product_flops > 1e8 && rates.product_flops < 1e16, "");
  EXPECT(rates.copy_bytes > 1e8 && rates.copy_bytes < 1e14, "");
  EXPECT(rates.upload_bytes > 1e8 && rates.upload_bytes < 1e14, "");
  EXPECT(rates.product_size >= 512, "");
  // The mean of a long run is below its fastest moment, unless others share the machine by turns.
  const double sustained = rates.sustained_product_flops;
  EXPECT(sustained > 0.1 * rates.product_flops && sustained < 2 * rates.product_flops, "");
}
