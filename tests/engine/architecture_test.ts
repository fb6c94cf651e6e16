import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseArchitecture, UnsupportedModelError } from "@lib/engine/architecture.ts";

/** The settings of config.json that matter, as the hub's files of each model have them. */
const LLAMA_31_8B = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  hidden_act: "silu",
  hidden_size: 4096,
  intermediate_size: 14336,
  max_position_embeddings: 131072,
  mlp_bias: false,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_max_position_embeddings: 8192,
    rope_type: "llama3",
  },
  rope_theta: 500000.0,
  tie_word_embeddings: false,
  vocab_size: 128256,
};
const LLAMA_3_8B = { ...LLAMA_31_8B, max_position_embeddings: 8192, rope_scaling: null };
const LLAMA_32_1B = {
  ...LLAMA_31_8B,
  head_dim: 64,
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  rope_scaling: { ...LLAMA_31_8B.rope_scaling, factor: 32.0 },
  tie_word_embeddings: true,
};
const TINYLLAMA = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  hidden_act: "silu",
  hidden_size: 2048,
  intermediate_size: 5632,
  max_position_embeddings: 2048,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 22,
  num_key_value_heads: 4,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  rope_theta: 10000.0,
  tie_word_embeddings: false,
  vocab_size: 32000,
};
const SMOLLM2_135M = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  hidden_act: "silu",
  hidden_size: 576,
  intermediate_size: 1536,
  is_llama_config: true,
  max_position_embeddings: 8192,
  mlp_bias: false,
  model_type: "llama",
  num_attention_heads: 9,
  num_hidden_layers: 30,
  num_key_value_heads: 3,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_interleaved: false,
  rope_scaling: null,
  rope_theta: 100000,
  tie_word_embeddings: true,
  vocab_size: 49152,
};
const MISTRAL_7B_V03 = {
  architectures: ["MistralForCausalLM"],
  hidden_act: "silu",
  hidden_size: 4096,
  intermediate_size: 14336,
  max_position_embeddings: 32768,
  model_type: "mistral",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_theta: 1000000.0,
  sliding_window: null,
  tie_word_embeddings: false,
  vocab_size: 32768,
};
const QWEN25_05B = {
  architectures: ["Qwen2ForCausalLM"],
  hidden_act: "silu",
  hidden_size: 896,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};
const QWEN3_06B = {
  architectures: ["Qwen3ForCausalLM"],
  attention_bias: false,
  head_dim: 128,
  hidden_act: "silu",
  hidden_size: 1024,
  intermediate_size: 3072,
  max_position_embeddings: 40960,
  max_window_layers: 28,
  model_type: "qwen3",
  num_attention_heads: 16,
  num_hidden_layers: 28,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-6,
  rope_scaling: null,
  rope_theta: 1000000,
  sliding_window: null,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};
const BNB = {
  quant_method: "bitsandbytes",
  load_in_4bit: true,
  load_in_8bit: false,
  bnb_4bit_quant_type: "nf4",
  bnb_4bit_use_double_quant: true,
  bnb_4bit_compute_dtype: "bfloat16",
  bnb_4bit_quant_storage: "uint8",
};

Deno.test("Llama 3, 3.1 and 3.2 are read whole", () => {
  const llama = parseArchitecture(LLAMA_31_8B, "config.json");
  assertEquals(llama, {
    modelType: "llama",
    hiddenSize: 4096,
    intermediateSize: 14336,
    numLayers: 32,
    numHeads: 32,
    numKvHeads: 8,
    headDim: 128,
    vocabSize: 128256,
    maxPosition: 131072,
    rmsNormEps: 1e-5,
    ropeTheta: 500000,
    ropeScaling: { factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPosition: 8192 },
    tieWordEmbeddings: false,
    qkvBias: false,
    qkNorm: false,
  });
  const old = parseArchitecture(LLAMA_3_8B, "config.json");
  assertEquals(old, { ...llama, maxPosition: 8192, ropeScaling: null });
  const small = parseArchitecture(LLAMA_32_1B, "config.json");
  assertEquals([small.tieWordEmbeddings, small.headDim, small.ropeScaling?.factor], [true, 64, 32]);
});

Deno.test("the kindred families are read with what sets them apart", () => {
  const read = (value: unknown) => parseArchitecture(value, "config.json");
  const tiny = read(TINYLLAMA);
  assertEquals([tiny.numKvHeads, tiny.headDim, tiny.ropeTheta], [4, 64, 10000]);
  const smol = read(SMOLLM2_135M);
  assertEquals([smol.headDim, smol.ropeTheta, smol.tieWordEmbeddings], [64, 100000, true]);
  const mistral = read(MISTRAL_7B_V03);
  assertEquals([mistral.modelType, mistral.headDim, mistral.qkvBias], ["mistral", 128, false]);
  assertEquals(read({ ...MISTRAL_7B_V03, hidden_size: 5120, head_dim: 128 }).headDim, 128);
  const qwen2 = read(QWEN25_05B);
  assertEquals([qwen2.qkvBias, qwen2.qkNorm, qwen2.headDim], [true, false, 64]);
  const qwen3 = read(QWEN3_06B);
  assertEquals([qwen3.qkvBias, qwen3.qkNorm, qwen3.headDim], [false, true, 128]);
});

Deno.test("defaults are each family's own, and transformers 5's form is the same", () => {
  const { head_dim: _, ...withoutHeadDim } = QWEN3_06B;
  assertEquals(parseArchitecture(withoutHeadDim, "config.json").headDim, 128);
  const { rope_scaling, rope_theta, ...rest } = LLAMA_31_8B;
  const five = { ...rest, rope_parameters: { ...rope_scaling, rope_theta } };
  assertEquals(parseArchitecture(five, "x"), parseArchitecture(LLAMA_31_8B, "x"));
  const { num_key_value_heads: __, ...mha } = TINYLLAMA;
  assertEquals(parseArchitecture(mha, "config.json").numKvHeads, 32);
});

Deno.test("bitsandbytes NF4 checkpoints are read", () => {
  const plain = parseArchitecture(LLAMA_31_8B, "config.json");
  assertEquals(parseArchitecture({ ...LLAMA_31_8B, quantization_config: BNB }, "x"), plain);
});

Deno.test("everything else is refused with the reason", () => {
  const { sliding_window: _, ...mistralWithoutWindow } = MISTRAL_7B_V03;
  const { num_key_value_heads: __, ...qwenWithoutKv } = QWEN3_06B;
  const scaled = (rope: object) => ({ ...LLAMA_31_8B, rope_scaling: rope });
  const quantized = (q: object) => ({ ...LLAMA_31_8B, quantization_config: { ...BNB, ...q } });
  const llama3 = LLAMA_31_8B.rope_scaling;
  const refused: [unknown, string][] = [
    [null, "object"],
    [{ ...LLAMA_31_8B, hidden_size: -1 }, "hidden_size"],
    [{ ...LLAMA_31_8B, vocab_size: 1.5 }, "vocab_size"],
    [{ ...LLAMA_31_8B, model_type: "gemma2" }, "found 'gemma2'"],
    [{ ...LLAMA_31_8B, model_type: "qwen3_moe", num_experts: 128 }, "found 'qwen3_moe'"],
    [{ ...LLAMA_31_8B, num_local_experts: 8 }, "no num_local_experts"],
    [{ ...LLAMA_31_8B, architectures: ["LlamaForSequenceClassification"] }, "language model"],
    [{ ...LLAMA_31_8B, hidden_act: "gelu" }, "hidden_act silu, found 'gelu'"],
    [{ ...LLAMA_31_8B, attention_bias: true }, "o_proj"],
    [{ ...QWEN3_06B, attention_bias: true }, "attention_bias"],
    [{ ...LLAMA_31_8B, mlp_bias: true }, "mlp_bias"],
    [{ ...MISTRAL_7B_V03, sliding_window: 4096 }, "sliding_window 4096"],
    [mistralWithoutWindow, "when the key is missing"],
    [{ ...QWEN25_05B, use_sliding_window: true, sliding_window: 4096 }, "sliding_window 4096"],
    [{ ...QWEN3_06B, layer_types: ["full_attention", "sliding_attention"] }, "layer_types"],
    [qwenWithoutKv, "num_key_value_heads, found none"],
    [{ ...LLAMA_31_8B, num_key_value_heads: 5 }, "divide num_attention_heads 32, found 5"],
    [{ ...LLAMA_31_8B, head_dim: 65 }, "even head_dim"],
    [{ ...LLAMA_31_8B, hidden_size: 4100 }, "found 128.125"],
    [{ ...LLAMA_31_8B, partial_rotary_factor: 0.5 }, "a share of 0.5"],
    [{ ...LLAMA_31_8B, logits_scaling: 16 }, "no logits_scaling"],
    [{ ...LLAMA_31_8B, final_logit_softcapping: 30 }, "final_logit_softcapping"],
    [scaled({ type: "linear", factor: 2 }), "found 'linear'"],
    [scaled({ type: "dynamic", factor: 2 }), "found 'dynamic'"],
    [scaled({ rope_type: "yarn", factor: 4 }), "found 'yarn'"],
    [scaled({ ...llama3, factor: undefined }), "expected factor"],
    [scaled({ ...llama3, factor: 0 }), "positive factors"],
    [scaled({ ...llama3, high_freq_factor: 1 }), "high_freq_factor above"],
    [scaled({ rope_type: "default", mrope_section: [16, 24, 24] }), "'mrope_section'"],
    [scaled({ full_attention: { rope_theta: 1e6 } }), "'full_attention'"],
    [quantized({ quant_method: "gptq" }), "quant_method 'gptq'"],
    [quantized({ load_in_4bit: false, load_in_8bit: true }), "load_in_4bit"],
    [quantized({ bnb_4bit_quant_type: "fp4" }), "fp4"],
    [quantized({ bnb_4bit_quant_storage: "bfloat16" }), "bnb_4bit_quant_storage"],
  ];
  for (const [config, reason] of refused) {
    const error = assertThrows(() => parseArchitecture(config, "x.json"), UnsupportedModelError);
    assertStringIncludes(error.message, reason);
    assertStringIncludes(error.message, "x.json");
  }
});
