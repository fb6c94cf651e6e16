/** The structs of `native/include/qlora.h`; compared with the header and the loaded library. */
import { defineStruct } from "@lib/engine/struct.ts";

export const DEVICE_RATES = defineStruct("qlora_device_rates", {
  struct_size: "i32",
  product_size: "i32",
  product_flops: "f64",
  copy_bytes: "f64",
  upload_bytes: "f64",
  sustained_product_flops: "f64",
});

export const MODEL_CONFIG = defineStruct("qlora_model_config", {
  struct_size: "i32",
  hidden_size: "i32",
  intermediate_size: "i32",
  num_layers: "i32",
  num_heads: "i32",
  num_kv_heads: "i32",
  head_dim: "i32",
  vocab_size: "i32",
  max_position: "i32",
  rope_scaling: "i32",
  rope_theta: "f64",
  rope_factor: "f64",
  rope_low_freq_factor: "f64",
  rope_high_freq_factor: "f64",
  rope_original_max_position: "i32",
  tie_word_embeddings: "i32",
  qkv_bias: "i32",
  qk_norm: "i32",
  rms_norm_eps: "f64",
  quantization: "i32",
  device: "i32",
  threads: "i32",
  host_memory: "i32",
  memory_budget: "i64",
});

export const LORA_CONFIG = defineStruct("qlora_lora_config", {
  struct_size: "i32",
  rank: "i32",
  alpha: "f64",
  dropout: "f64",
  target_modules: "i32",
  use_rslora: "i32",
  seed: "u64",
});

export const BATCH = defineStruct("qlora_batch", {
  struct_size: "i32",
  num_tokens: "i32",
  num_sequences: "i32",
  prefix_length: "i32",
  num_targets: "i32",
  reserved: "i32",
  token_ids: "ptr",
  cu_seqlens: "ptr",
  sequence_keys: "ptr",
  target_rows: "ptr",
  target_ids: "ptr",
  target_weights: "ptr",
});

export const TRAIN_CONFIG = defineStruct("qlora_train_config", {
  struct_size: "i32",
  max_tokens: "i32",
  max_sequences: "i32",
  max_targets: "i32",
  recompute: "i32",
  reserved: "i32",
  beta1: "f64",
  beta2: "f64",
  epsilon: "f64",
  weight_decay: "f64",
  max_grad_norm: "f64",
  dropout_seed: "u64",
});

export const BATCH_RESULT = defineStruct("qlora_batch_result", {
  struct_size: "i32",
  num_targets: "i32",
  nll_sum: "f64",
  weight_sum: "f64",
});

export const STEP_RESULT = defineStruct("qlora_step_result", {
  struct_size: "i32",
  clipped: "i32",
  step: "i64",
  loss: "f64",
  weight_sum: "f64",
  grad_norm: "f64",
});

export const MEMORY_REPORT = defineStruct("qlora_memory_report", {
  struct_size: "i32",
  kept_layers: "i32",
  embeddings: "i64",
  base: "i64",
  constants: "i64",
  lora: "i64",
  optimizer: "i64",
  activations: "i64",
  workspace: "i64",
  kv_cache: "i64",
  total: "i64",
  device_total: "i64",
  device_free: "i64",
  context: "i64",
  host: "i64",
  whole_layers: "i32",
  resident: "i32",
});

export const GENERATOR_CONFIG = defineStruct("qlora_generator_config", {
  struct_size: "i32",
  max_sequences: "i32",
  max_sequence_tokens: "i32",
  max_prefix_tokens: "i32",
});

export const SAMPLING = defineStruct("qlora_sampling", {
  struct_size: "i32",
  max_new_tokens: "i32",
  temperature: "f64",
  top_p: "f64",
  min_p: "f64",
  repetition_penalty: "f64",
  top_k: "i32",
  num_stop_ids: "i32",
  seed: "u64",
  stop_ids: "ptr",
});

export const GENERATED_TOKEN = defineStruct("qlora_generated_token", {
  sequence: "i32",
  token: "i32",
  logprob: "f32",
  finish: "i32",
});

/** Struct → the function that tells its size in the loaded library. */
export const STRUCT_SIZES = {
  qlora_sizeof_device_rates: DEVICE_RATES,
  qlora_sizeof_model_config: MODEL_CONFIG,
  qlora_sizeof_lora_config: LORA_CONFIG,
  qlora_sizeof_train_config: TRAIN_CONFIG,
  qlora_sizeof_batch: BATCH,
  qlora_sizeof_batch_result: BATCH_RESULT,
  qlora_sizeof_step_result: STEP_RESULT,
  qlora_sizeof_memory_report: MEMORY_REPORT,
  qlora_sizeof_generator_config: GENERATOR_CONFIG,
  qlora_sizeof_sampling: SAMPLING,
  qlora_sizeof_generated_token: GENERATED_TOKEN,
} as const;
