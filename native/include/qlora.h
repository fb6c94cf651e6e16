/*
 * qlora.h: QLoRA fine-tuning and generation for Llama-family models. The C ABI, and its manual.
 *
 * ## Overview
 * A *model* is a frozen base (NF4 with optional double quantisation, or unquantised) on one device,
 * with at most one LoRA adapter. A *trainer* adds gradients, AdamW state and activation memory. A
 * *generator* adds key/value caches and decodes many sequences together. Two shared libraries
 * implement this header: a CPU build (fp32 throughout, the reference) and a CUDA build (bf16
 * activations; fp32 accumulation, norms, softmax, loss and LoRA master weights).
 *
 * ## Usage
 *   1. qlora_model_config_default, fill in the shape, qlora_model_create.
 *   2. qlora_model_load_tensor for every tensor of the checkpoint, in any order, under its Hugging
 *      Face name; quantised on arrival, the caller's memory is free again on return. Then
 *      qlora_model_finalize, which names whatever is missing.
 *   3. qlora_model_attach_lora; qlora_model_write_lora to load an adapter.
 *   4. Train: qlora_trainer_create; per optimiser step qlora_trainer_accumulate for each micro-batch,
 *      then qlora_trainer_step. qlora_model_read_lora gives the adapter, qlora_trainer_export_state
 *      the optimiser.
 *   5. Measure: qlora_model_evaluate gives the negative log-likelihood of every target.
 *   6. Generate: qlora_generator_create, optionally _set_prefix, _add each prompt, _run until no
 *      sequence is live.
 *   7. Destroy generators and trainers before their model. Destroying NULL is allowed.
 *
 * ## Threads and ownership
 * Calls on one handle, and on handles of one model, must not overlap; an overlapping call returns
 * QLORA_ERROR_BUSY and changes nothing, not even the handle's message. Consecutive calls may come from different threads. No state
 * is thread-local; every entry point selects its device. Pointers passed in are read or written only
 * during the call, except the cancel flag (qlora_model_set_cancel_flag).
 *
 * ## Errors
 * Fallible functions return a qlora_status and write results through out-pointers, which are
 * untouched on failure. The message belongs to the handle (qlora_model_error etc.; trainers and
 * generators have their own) and stays valid until the next call on it; where no handle exists yet
 * the caller passes a buffer. A message says what was expected, what was found and what to do.
 * Nothing crosses this boundary by exception, exit, abort or printing.
 *
 * ## Cancelling
 * The caller may register one int32 flag. While it is non-zero a running call stops at the next
 * layer or token and returns QLORA_ERROR_CANCELLED. A cancelled accumulate leaves gradients invalid
 * until qlora_trainer_reset_gradients; weights and optimiser state are as before the call.
 *
 * ## Versions
 * Structs carry their own size in their first field and only grow at the end; enums only append.
 * Bindings check qlora_abi_version and the qlora_sizeof_* functions when they load the library.
 */
#ifndef QLORA_H
#define QLORA_H

#include <stdint.h>

#if defined(_WIN32)
#if defined(QLORA_BUILD)
#define QLORA_API __declspec(dllexport)
#else
#define QLORA_API __declspec(dllimport)
#endif
#else
#define QLORA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define QLORA_ABI_VERSION 1

/* ---- Status, types ----------------------------------------------------------------------- */

typedef enum qlora_status {
  QLORA_OK = 0,
  QLORA_ERROR_INVALID_ARGUMENT = 1, /* a value out of range, a wrong name, shape or size */
  QLORA_ERROR_OUT_OF_MEMORY = 2,    /* host or device; the message says how much was wanted */
  QLORA_ERROR_CANCELLED = 3,        /* the cancel flag was set */
  QLORA_ERROR_BUSY = 4,             /* another call on this model is running */
  QLORA_ERROR_STATE = 5,            /* called out of order, e.g. training before finalize */
  QLORA_ERROR_NOT_FINITE = 6,       /* loss or gradient norm is NaN or infinite */
  QLORA_ERROR_DEVICE = 7,           /* driver, library or hardware */
  QLORA_ERROR_UNSUPPORTED = 8,      /* valid, but not in this build */
  QLORA_ERROR_INTERNAL = 9          /* a defect of this library */
} qlora_status;

typedef enum qlora_dtype {
  QLORA_F32 = 0,
  QLORA_F16 = 1,
  QLORA_BF16 = 2,
  QLORA_U8 = 3
} qlora_dtype;

typedef enum qlora_quantization {
  QLORA_QUANTIZATION_NONE = 0,      /* linears kept in the activation type */
  QLORA_QUANTIZATION_NF4 = 1,       /* block 64, fp32 absmax */
  QLORA_QUANTIZATION_NF4_DOUBLE = 2 /* absmax quantised again, block 256, signed dynamic map */
} qlora_quantization;

typedef enum qlora_rope_scaling {
  QLORA_ROPE_NONE = 0,
  QLORA_ROPE_LLAMA3 = 1
} qlora_rope_scaling;

/* Bits of qlora_lora_config.target_modules. */
typedef enum qlora_module {
  QLORA_Q_PROJ = 1,
  QLORA_K_PROJ = 2,
  QLORA_V_PROJ = 4,
  QLORA_O_PROJ = 8,
  QLORA_GATE_PROJ = 16,
  QLORA_UP_PROJ = 32,
  QLORA_DOWN_PROJ = 64
} qlora_module;

typedef enum qlora_recompute {
  QLORA_RECOMPUTE_NONE = 0, /* keep every layer's activations */
  QLORA_RECOMPUTE_FULL = 1, /* keep each layer's input, recompute the rest in the backward pass */
  QLORA_RECOMPUTE_AUTO = 2  /* keep what fits the memory budget, recompute the other layers */
} qlora_recompute;

/* What is kept in pinned host memory, which the device reads over the bus, to save its own. */
typedef enum qlora_host_memory {
  QLORA_HOST_EMBEDDINGS = 1, /* one row a token is read: next to free. Not of a tied model */
  QLORA_HOST_HEAD = 2,       /* lm_head (tied: the one table): read whole, once a micro-batch in
                                training and once a step in generation */
  QLORA_HOST_OPTIMIZER = 4   /* AdamW's moments: read and written once an optimiser step */
} qlora_host_memory;

typedef struct qlora_model qlora_model;
typedef struct qlora_trainer qlora_trainer;
typedef struct qlora_generator qlora_generator;

/* ---- The library ------------------------------------------------------------------------- */

/* QLORA_ABI_VERSION the library was built with. */
QLORA_API int32_t qlora_abi_version(void);

/*
 * Describes the build and the device as JSON, NUL-terminated:
 * {"backend":"cpu"|"cuda","version":…,"device":…,"isa":…,"threads":…,"memory_bytes":…,
 *  "memory_free_bytes":…,…}.
 * Writes at most capacity bytes; *out_length is the full length without the NUL. Never needs a
 * model; QLORA_ERROR_DEVICE with {"error":…} in the buffer when the device cannot be used.
 */
QLORA_API qlora_status qlora_library_describe(char* buffer, int64_t capacity, int64_t* out_length);

typedef struct qlora_device_rates {
  int32_t struct_size;
  int32_t product_size;   /* of the square product that was timed */
  double product_flops;   /* operations a second (a multiply-add is two): a large product in the
                             activation type with fp32 accumulation; of the fastest 20 ms */
  double copy_bytes;      /* bytes a second, read plus written, of a copy inside the device */
  double upload_bytes;    /* bytes a second from ordinary host memory to the device */
  double sustained_product_flops; /* of the same product when it runs for seconds: what is left
                                     once the device has lowered its clock to the power it may draw */
} qlora_device_rates;

/*
 * Measures the ceilings that times are set against, on an idle device: about six seconds on a GPU.
 * device, threads: as in qlora_model_config.
 */
QLORA_API qlora_status qlora_device_measure(int32_t device, int32_t threads,
                                            qlora_device_rates* rates, char* error,
                                            int64_t error_capacity);

/* sizeof of each struct, for bindings to check against their own layout. */
QLORA_API int32_t qlora_sizeof_device_rates(void);
QLORA_API int32_t qlora_sizeof_model_config(void);
QLORA_API int32_t qlora_sizeof_lora_config(void);
QLORA_API int32_t qlora_sizeof_train_config(void);
QLORA_API int32_t qlora_sizeof_batch(void);
QLORA_API int32_t qlora_sizeof_batch_result(void);
QLORA_API int32_t qlora_sizeof_step_result(void);
QLORA_API int32_t qlora_sizeof_memory_report(void);
QLORA_API int32_t qlora_sizeof_generator_config(void);
QLORA_API int32_t qlora_sizeof_sampling(void);
QLORA_API int32_t qlora_sizeof_generated_token(void);

/* ---- NF4 on plain arrays (teaching, tests, caches) ---------------------------------------- */

/*
 * Quantises n floats (row-major, n > 0) exactly as bitsandbytes does on a CPU: block 64, first
 * element in the high nibble. packed: (n + 1) / 2 bytes. absmax: (n + 63) / 64 floats.
 */
QLORA_API qlora_status qlora_nf4_quantize(const float* values, int64_t n, uint8_t* packed,
                                          float* absmax);
QLORA_API qlora_status qlora_nf4_dequantize(const uint8_t* packed, const float* absmax, int64_t n,
                                            float* values);
/*
 * Double quantisation of count absmax values: codes: count bytes; absmax2: (count + 255) / 256
 * floats; *offset: the mean that was subtracted first.
 */
QLORA_API qlora_status qlora_absmax_quantize(const float* absmax, int64_t count, uint8_t* codes,
                                             float* absmax2, float* offset);
QLORA_API qlora_status qlora_absmax_dequantize(const uint8_t* codes, const float* absmax2,
                                               float offset, int64_t count, float* absmax);

/*
 * XXH64 (seed 0) of any bytes, for files that hold quantised weights: notices damage, proves nothing
 * about who wrote them. bytes may be 0.
 */
QLORA_API qlora_status qlora_checksum(const void* data, int64_t bytes, uint64_t* out);

/* ---- Model ------------------------------------------------------------------------------- */

typedef struct qlora_model_config {
  int32_t struct_size;
  int32_t hidden_size;
  int32_t intermediate_size;
  int32_t num_layers;
  int32_t num_heads;    /* query heads */
  int32_t num_kv_heads; /* divides num_heads */
  int32_t head_dim;     /* even */
  int32_t vocab_size;
  int32_t max_position; /* positions 0 … max_position − 1 may be used */
  int32_t rope_scaling; /* qlora_rope_scaling */
  double rope_theta;
  double rope_factor; /* the next four: llama3 scaling only */
  double rope_low_freq_factor;
  double rope_high_freq_factor;
  int32_t rope_original_max_position;
  int32_t tie_word_embeddings; /* 0 or 1 */
  int32_t qkv_bias;            /* 0 or 1: Qwen2.5 */
  int32_t qk_norm;             /* 0 or 1: Qwen3, RMSNorm over each head of q and k */
  double rms_norm_eps;
  int32_t quantization; /* qlora_quantization, of the seven linears of each layer */
  int32_t device;       /* CUDA ordinal; ignored by the CPU build */
  int32_t threads;      /* CPU build: 0 = all available; ignored by the CUDA build */
  int32_t host_memory;  /* qlora_host_memory bits */
  int64_t memory_budget; /* device bytes this model and its handles may use, the device's context
                            and libraries included; 0 = what is free */
} qlora_model_config;

/* Llama-3.1-8B's shape, NF4 with double quantisation. */
QLORA_API void qlora_model_config_default(qlora_model_config* config);

/* error: at least 1 byte; filled with a NUL-terminated message on failure. */
QLORA_API qlora_status qlora_model_create(const qlora_model_config* config, qlora_model** out,
                                          char* error, int64_t error_capacity);
QLORA_API void qlora_model_destroy(qlora_model* model);
QLORA_API const char* qlora_model_error(const qlora_model* model);

/* flag may be NULL to unregister; must stay readable until then or until the model is destroyed. */
QLORA_API qlora_status qlora_model_set_cancel_flag(qlora_model* model, const int32_t* flag);

/*
 * Takes one tensor. Names: model.embed_tokens.weight, model.layers.{i}.input_layernorm.weight,
 * …self_attn.{q,k,v,o}_proj.weight (and .bias, …{q,k}_norm.weight where configured),
 * …post_attention_layernorm.weight, …mlp.{gate,up,down}_proj.weight, model.norm.weight,
 * lm_head.weight (refused when tied). data: row-major, bytes long, any alignment.
 * Linears arrive either as F32/F16/BF16 [out, in], or as the parts bitsandbytes saves
 * (X.weight U8 [n/2, 1], X.weight.absmax, .nested_absmax, .quant_map, .nested_quant_map,
 * .quant_state.bitsandbytes__nf4), in any order. A tensor that arrives twice, an unknown name, a
 * wrong shape, dtype or byte count is refused with what was expected.
 */
QLORA_API qlora_status qlora_model_load_tensor(qlora_model* model, const char* name, int32_t dtype,
                                               const int64_t* shape, int32_t num_dims,
                                               const void* data, int64_t bytes);

/* Every tensor must have arrived; the message lists those missing (first few and their number). */
QLORA_API qlora_status qlora_model_finalize(qlora_model* model);

/*
 * Fills every tensor with reproducible random values made on the device (norms 1, the rest
 * normal(0, std)) in place of load_tensor; finalize follows. For benchmarks without a checkpoint.
 */
QLORA_API qlora_status qlora_model_load_random(qlora_model* model, uint64_t seed, double std);

/* The tensor as the computation sees it (dequantised), count = product of its shape. */
QLORA_API qlora_status qlora_model_read_tensor(qlora_model* model, const char* name, float* values,
                                               int64_t count);

/*
 * After finalize: one part of a quantised linear X, in the bytes qlora_model_load_tensor takes for
 * it, so that a checkpoint is quantised once: X.weight (U8, n/2), X.weight.absmax (U8, or F32 without
 * double quantisation), X.weight.nested_absmax (F32), and nested_offset of the quant_state as
 * X.weight.nested_offset (one F32). bytes: exactly the part's size.
 */
QLORA_API qlora_status qlora_model_read_part(qlora_model* model, const char* name, void* data,
                                             int64_t bytes);

/* ---- LoRA -------------------------------------------------------------------------------- */

typedef struct qlora_lora_config {
  int32_t struct_size;
  int32_t rank;
  double alpha;           /* scale = alpha / rank, or alpha / sqrt(rank) with rslora */
  double dropout;         /* on the input of A, in training only; 0 ≤ dropout < 1 */
  int32_t target_modules; /* qlora_module bits */
  int32_t use_rslora;     /* 0 or 1 */
  uint64_t seed;          /* of A's kaiming_uniform(√5); B is zero */
} qlora_lora_config;

/* r 16, alpha 32, dropout .05, all seven linears. */
QLORA_API void qlora_lora_config_default(qlora_lora_config* config);

/* After finalize. Replaces any adapter; refused while a trainer exists. */
QLORA_API qlora_status qlora_model_attach_lora(qlora_model* model, const qlora_lora_config* config);
QLORA_API qlora_status qlora_model_detach_lora(qlora_model* model);

/* 0: every computation ignores the adapter (the base model); 1, the default: it is applied. Costs
 * nothing. */
QLORA_API qlora_status qlora_model_enable_lora(qlora_model* model, int32_t enabled);

/*
 * Adapter tensors by name, fp32: model.layers.{i}.self_attn.q_proj.lora_A.weight [r, in],
 * ….lora_B.weight [out, r].
 */
QLORA_API qlora_status qlora_model_read_lora(qlora_model* model, const char* name, float* values,
                                             int64_t count);
QLORA_API qlora_status qlora_model_write_lora(qlora_model* model, const char* name,
                                              const float* values, int64_t count);

/* ---- Batches ----------------------------------------------------------------------------- */

/*
 * One micro-batch of packed sequences, without padding. Tokens [0, prefix_length) are a prefix
 * shared by all sequences (0: none); sequence s is tokens [cu_seqlens[s], cu_seqlens[s + 1]),
 * cu_seqlens[0] == prefix_length, cu_seqlens[num_sequences] == num_tokens. A token attends to the
 * prefix and to the earlier tokens of its own sequence. Positions are implied: the prefix counts
 * from 0, every sequence from prefix_length.
 * A target is (row, id, weight): the token id that should follow the token at row. Several targets
 * may name one row (the prefix's last row predicts the first token of every sequence).
 */
typedef struct qlora_batch {
  int32_t struct_size;
  int32_t num_tokens;
  int32_t num_sequences;
  int32_t prefix_length;
  int32_t num_targets;
  int32_t reserved;
  const int32_t* token_ids;      /* (num_tokens) */
  const int32_t* cu_seqlens;     /* (num_sequences + 1) */
  const int32_t* sequence_keys;  /* (num_sequences) sample ids ≥ 0 that key the dropout mask, so
                                    that packing changes no mask; NULL: 0, 1, 2 … */
  const int32_t* target_rows;    /* (num_targets) ascending */
  const int32_t* target_ids;     /* (num_targets) */
  const float* target_weights;   /* (num_targets) or NULL: all 1 */
} qlora_batch;

/* Negative log-likelihood (nats) of every target, dropout off: target_nll (num_targets). */
QLORA_API qlora_status qlora_model_evaluate(qlora_model* model, const qlora_batch* batch,
                                            float* target_nll);

/* Logits at every target's row, dropout off: logits (num_targets, vocab_size). For parity tests. */
QLORA_API qlora_status qlora_model_logits(qlora_model* model, const qlora_batch* batch,
                                          float* logits);

/* ---- Training ---------------------------------------------------------------------------- */

typedef struct qlora_train_config {
  int32_t struct_size;
  int32_t max_tokens;    /* capacity of a micro-batch */
  int32_t max_sequences; /* capacity of a micro-batch */
  int32_t max_targets;   /* capacity of a micro-batch */
  int32_t recompute;     /* qlora_recompute */
  int32_t reserved;
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;   /* decoupled, as torch.optim.AdamW */
  double max_grad_norm;  /* over all LoRA gradients; 0: no clipping */
  uint64_t dropout_seed;
} qlora_train_config;

typedef struct qlora_batch_result {
  int32_t struct_size;
  int32_t num_targets;
  double nll_sum;    /* Σ weight · nll, nats */
  double weight_sum; /* Σ weight */
} qlora_batch_result;

typedef struct qlora_step_result {
  int32_t struct_size;
  int32_t clipped;     /* 1 when grad_norm exceeded max_grad_norm */
  int64_t step;        /* optimiser steps taken, this one included */
  double loss;         /* Σ weight · nll / Σ weight over the accumulated micro-batches */
  double weight_sum;
  double grad_norm;    /* of the mean gradient, before clipping */
} qlora_step_result;

/* β .9 .999, ε 1e-8, weight decay 0, max_grad_norm 1, recompute auto, 2048 tokens and targets, 64
 * sequences. */
QLORA_API void qlora_train_config_default(qlora_train_config* config);

/* Needs an attached adapter. At most one trainer a model. */
QLORA_API qlora_status qlora_trainer_create(qlora_model* model, const qlora_train_config* config,
                                            qlora_trainer** out, char* error,
                                            int64_t error_capacity);
QLORA_API void qlora_trainer_destroy(qlora_trainer* trainer);
QLORA_API const char* qlora_trainer_error(const qlora_trainer* trainer);

/*
 * Forward and backward; adds the gradient of Σ weight · nll to the accumulators. The dropout mask
 * depends on (dropout_seed, optimiser step, layer, input, sequence key, position, column) only.
 * target_nll: NULL or (num_targets).
 */
QLORA_API qlora_status qlora_trainer_accumulate(qlora_trainer* trainer, const qlora_batch* batch,
                                                float* target_nll, qlora_batch_result* result);

/*
 * Divides the accumulated gradient by the accumulated weight, clips, applies AdamW, clears the
 * accumulators. QLORA_ERROR_NOT_FINITE changes nothing but clears the accumulators.
 */
QLORA_API qlora_status qlora_trainer_step(qlora_trainer* trainer, double learning_rate,
                                          qlora_step_result* result);
QLORA_API qlora_status qlora_trainer_reset_gradients(qlora_trainer* trainer);

/* The accumulated (not yet divided) gradient of one adapter tensor. */
QLORA_API qlora_status qlora_trainer_read_gradient(qlora_trainer* trainer, const char* name,
                                                   float* values, int64_t count);

/*
 * Optimiser state (step, first and second moments) as bytes; with the adapter it resumes a run bit
 * for bit. Import refuses bytes of another shape or version and changes nothing then; else it
 * clears the accumulated gradients.
 */
QLORA_API qlora_status qlora_trainer_state_bytes(qlora_trainer* trainer, int64_t* out_bytes);
QLORA_API qlora_status qlora_trainer_export_state(qlora_trainer* trainer, void* data,
                                                  int64_t bytes);
QLORA_API qlora_status qlora_trainer_import_state(qlora_trainer* trainer, const void* data,
                                                  int64_t bytes);

/* ---- Memory ------------------------------------------------------------------------------ */

/* Device bytes by kind (the CPU build's device is the host). */
typedef struct qlora_memory_report {
  int32_t struct_size;
  int32_t kept_layers;     /* layers whose products are kept, the rest are recomputed */
  int64_t embeddings;      /* token embeddings and lm_head */
  int64_t base;            /* packed or plain weights of the linears */
  int64_t constants;       /* quantisation constants, norms, rope tables */
  int64_t lora;            /* master weights */
  int64_t optimizer;       /* gradients and moments */
  int64_t activations;
  int64_t workspace;       /* dequantised tiles, logits chunk */
  int64_t kv_cache;
  int64_t total;           /* of the kinds above and context */
  int64_t device_total;    /* of the card or the machine */
  int64_t device_free;
  int64_t context;         /* the device's context, and its libraries' and ops' own workspaces */
  int64_t host;            /* pinned host memory (qlora_host_memory); not in total */
  int32_t whole_layers;    /* of the kept layers, those with norms, attention and SwiGLU kept too */
  int32_t resident;        /* 1: all weights stay dequantised; 0: each is dequantised before use */
} qlora_memory_report;

/* What is allocated now, by this model and its handles. */
QLORA_API qlora_status qlora_model_memory(qlora_model* model, qlora_memory_report* report);

/*
 * What a training run would allocate; nothing is. lora and train may be NULL (base only). A plan
 * over memory_budget returns QLORA_ERROR_OUT_OF_MEMORY, fills the report all the same, and names in
 * error the largest max_tokens that would fit. QLORA_RECOMPUTE_AUTO fills nine tenths of the budget,
 * or of what can be had, with what saves time; only what a run cannot do without goes beyond.
 * Where to keep embeddings, head and moments (host_memory) and how large micro-batches are is the
 * caller's choice: ask for several plans.
 */
QLORA_API qlora_status qlora_plan_training(const qlora_model_config* config,
                                           const qlora_lora_config* lora,
                                           const qlora_train_config* train,
                                           qlora_memory_report* report, char* error,
                                           int64_t error_capacity);

/* ---- Generation -------------------------------------------------------------------------- */

typedef struct qlora_generator_config {
  int32_t struct_size;
  int32_t max_sequences;       /* decoded together */
  int32_t max_sequence_tokens; /* prompt without the shared prefix + answer, per sequence */
  int32_t max_prefix_tokens;   /* 0: no shared prefix */
} qlora_generator_config;

typedef struct qlora_sampling {
  int32_t struct_size;
  int32_t max_new_tokens;
  double temperature;        /* 0: greedy */
  double top_p;              /* 1: off */
  double min_p;              /* 0: off */
  double repetition_penalty; /* 1: off; as transformers: over prompt and answer */
  int32_t top_k;             /* 0: off */
  int32_t num_stop_ids;
  uint64_t seed;             /* same seed, prompt and settings: same tokens, whatever else runs;
                              * see qlora_generator_run */
  const int32_t* stop_ids;   /* (num_stop_ids); the stop token is emitted, then the sequence ends */
} qlora_sampling;

typedef enum qlora_finish {
  QLORA_FINISH_NONE = 0,   /* still live */
  QLORA_FINISH_STOP = 1,   /* a stop id */
  QLORA_FINISH_LENGTH = 2, /* max_new_tokens or max_sequence_tokens */
  QLORA_FINISH_REMOVED = 3,
  QLORA_FINISH_FAILED = 4 /* its logits are not finite: no token was chosen, logprob is not finite */
} qlora_finish;

typedef struct qlora_generated_token {
  int32_t sequence; /* id given by qlora_generator_add */
  int32_t token;
  float logprob;    /* under the unmodified distribution, nats */
  int32_t finish;   /* qlora_finish, of the sequence after this token */
} qlora_generated_token;

/* 16 sequences of 512 tokens behind a prefix of at most 512. */
QLORA_API void qlora_generator_config_default(qlora_generator_config* config);
/* 256 new tokens, temperature .7, top_p .9, the rest off, no stop ids. */
QLORA_API void qlora_sampling_default(qlora_sampling* sampling);
QLORA_API qlora_status qlora_generator_create(qlora_model* model,
                                              const qlora_generator_config* config,
                                              qlora_generator** out, char* error,
                                              int64_t error_capacity);
QLORA_API void qlora_generator_destroy(qlora_generator* generator);
QLORA_API const char* qlora_generator_error(const qlora_generator* generator);

/* Computes the prefix's keys and values once; sequences added later start behind it. Refused while
 * sequences are live. Prefix and live sequences belong to the model as it was: using them is an error
 * after the adapter has changed, and while it is toggled otherwise (qlora_model_enable_lora). Toggled
 * back they go on, so two generators of one model can take turns as base and tuned. */
QLORA_API qlora_status qlora_generator_set_prefix(qlora_generator* generator,
                                                  const int32_t* token_ids, int32_t count);

/* Queues a prompt (without the prefix; count ≥ 1). *out_sequence: an id unique in this generator.
 * QLORA_ERROR_OUT_OF_MEMORY when max_sequences are live: run, then add again. */
QLORA_API qlora_status qlora_generator_add(qlora_generator* generator, const int32_t* token_ids,
                                           int32_t count, const qlora_sampling* sampling,
                                           int32_t* out_sequence);
QLORA_API qlora_status qlora_generator_remove(qlora_generator* generator, int32_t sequence);

/*
 * Prefills queued prompts, then takes up to max_steps decode steps for all live sequences, or until
 * none is live. Emits tokens in order of steps; capacity ≥ max_steps · max_sequences always
 * suffices. *out_live: sequences still live. QLORA_ERROR_CANCELLED delivers the tokens of the steps
 * completed all the same (tokens, *out_count and *out_live are set); the next call goes on.
 *
 * How many steps a call takes changes no token. On the CPU a sequence's tokens are the same whatever
 * else runs. On CUDA they are so among up to four live sequences and among five to sixteen (of NF4
 * weights; of plain ones among up to eight): the products are added up in different orders, so that
 * logits differ by rounding; beyond that they may differ between any two numbers of sequences. The
 * GPU works up to eight steps ahead: that long a cancelled call may go on.
 */
QLORA_API qlora_status qlora_generator_run(qlora_generator* generator, int32_t max_steps,
                                           qlora_generated_token* tokens, int64_t capacity,
                                           int64_t* out_count, int32_t* out_live);

#ifdef __cplusplus
}
#endif

#endif /* QLORA_H */
