/**
 * The C functions of `native/include/qlora.h`, one entry each, parameters in the header's order.
 * `tests/engine/symbols_test.ts` parses the header and compares names, arity and types.
 *
 * Calls that may take longer than about 10 ms are `nonblocking`: they run on a worker thread and
 * return a promise. Handles are `pointer`, arrays and structs are `buffer`.
 */
export const SYMBOLS = {
  // The library
  qlora_abi_version: { parameters: [], result: "i32" },
  qlora_library_describe: { parameters: ["buffer", "i64", "buffer"], result: "i32" },
  qlora_device_measure: {
    parameters: ["i32", "i32", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_sizeof_device_rates: { parameters: [], result: "i32" },
  qlora_sizeof_model_config: { parameters: [], result: "i32" },
  qlora_sizeof_lora_config: { parameters: [], result: "i32" },
  qlora_sizeof_train_config: { parameters: [], result: "i32" },
  qlora_sizeof_batch: { parameters: [], result: "i32" },
  qlora_sizeof_batch_result: { parameters: [], result: "i32" },
  qlora_sizeof_step_result: { parameters: [], result: "i32" },
  qlora_sizeof_memory_report: { parameters: [], result: "i32" },
  qlora_sizeof_generator_config: { parameters: [], result: "i32" },
  qlora_sizeof_sampling: { parameters: [], result: "i32" },
  qlora_sizeof_generated_token: { parameters: [], result: "i32" },

  // NF4 on plain arrays
  qlora_nf4_quantize: { parameters: ["buffer", "i64", "buffer", "buffer"], result: "i32" },
  qlora_nf4_dequantize: { parameters: ["buffer", "buffer", "i64", "buffer"], result: "i32" },
  qlora_absmax_quantize: {
    parameters: ["buffer", "i64", "buffer", "buffer", "buffer"],
    result: "i32",
  },
  qlora_absmax_dequantize: {
    parameters: ["buffer", "buffer", "f32", "i64", "buffer"],
    result: "i32",
  },

  qlora_checksum: { parameters: ["buffer", "i64", "buffer"], result: "i32", nonblocking: true },

  // Model
  qlora_model_config_default: { parameters: ["buffer"], result: "void" },
  qlora_model_create: {
    parameters: ["buffer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_model_destroy: { parameters: ["pointer"], result: "void" },
  qlora_model_error: { parameters: ["pointer"], result: "pointer" },
  qlora_model_set_cancel_flag: { parameters: ["pointer", "buffer"], result: "i32" },
  qlora_model_load_tensor: {
    parameters: ["pointer", "buffer", "i32", "buffer", "i32", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_model_finalize: { parameters: ["pointer"], result: "i32", nonblocking: true },
  qlora_model_load_random: {
    parameters: ["pointer", "u64", "f64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_model_read_tensor: {
    parameters: ["pointer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_model_read_part: {
    parameters: ["pointer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },

  // LoRA
  qlora_lora_config_default: { parameters: ["buffer"], result: "void" },
  qlora_model_attach_lora: { parameters: ["pointer", "buffer"], result: "i32", nonblocking: true },
  qlora_model_detach_lora: { parameters: ["pointer"], result: "i32" },
  qlora_model_enable_lora: { parameters: ["pointer", "i32"], result: "i32" },
  qlora_model_read_lora: {
    parameters: ["pointer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_model_write_lora: {
    parameters: ["pointer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },

  // Batches
  qlora_model_evaluate: {
    parameters: ["pointer", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  qlora_model_logits: {
    parameters: ["pointer", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },

  // Training
  qlora_train_config_default: { parameters: ["buffer"], result: "void" },
  qlora_trainer_create: {
    parameters: ["pointer", "buffer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_trainer_destroy: { parameters: ["pointer"], result: "void" },
  qlora_trainer_error: { parameters: ["pointer"], result: "pointer" },
  qlora_trainer_accumulate: {
    parameters: ["pointer", "buffer", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  qlora_trainer_step: {
    parameters: ["pointer", "f64", "buffer"],
    result: "i32",
    nonblocking: true,
  },
  qlora_trainer_reset_gradients: { parameters: ["pointer"], result: "i32" },
  qlora_trainer_read_gradient: {
    parameters: ["pointer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_trainer_state_bytes: { parameters: ["pointer", "buffer"], result: "i32" },
  qlora_trainer_export_state: {
    parameters: ["pointer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_trainer_import_state: {
    parameters: ["pointer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },

  // Memory
  qlora_model_memory: { parameters: ["pointer", "buffer"], result: "i32" },
  qlora_plan_training: {
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "i64"],
    result: "i32",
  },

  // Generation
  qlora_generator_config_default: { parameters: ["buffer"], result: "void" },
  qlora_sampling_default: { parameters: ["buffer"], result: "void" },
  qlora_generator_create: {
    parameters: ["pointer", "buffer", "buffer", "buffer", "i64"],
    result: "i32",
    nonblocking: true,
  },
  qlora_generator_destroy: { parameters: ["pointer"], result: "void" },
  qlora_generator_error: { parameters: ["pointer"], result: "pointer" },
  qlora_generator_set_prefix: {
    parameters: ["pointer", "buffer", "i32"],
    result: "i32",
    nonblocking: true,
  },
  qlora_generator_add: {
    parameters: ["pointer", "buffer", "i32", "buffer", "buffer"],
    result: "i32",
  },
  qlora_generator_remove: { parameters: ["pointer", "i32"], result: "i32" },
  qlora_generator_run: {
    parameters: ["pointer", "i32", "buffer", "i64", "buffer", "buffer"],
    result: "i32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;
