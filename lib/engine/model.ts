/** A model in the native library: base weights, at most one adapter, evaluation. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { type Batch, encodeBatch } from "@lib/engine/batch.ts";
import { type Backend, type Library, loadLibrary } from "@lib/engine/library.ts";
import { type MemoryReport, readMemoryReport } from "@lib/engine/memory.ts";
import { EngineError, unwrap } from "@lib/engine/status.ts";
import { writeStruct } from "@lib/engine/struct.ts";
import { LORA_CONFIG, MEMORY_REPORT, MODEL_CONFIG, TRAIN_CONFIG } from "@lib/engine/structs.ts";

/** `qlora_dtype`, under safetensors' names. */
export const DTYPES = { F32: 0, F16: 1, BF16: 2, U8: 3 } as const;
export type Dtype = keyof typeof DTYPES;

/** `qlora_quantization`. */
export const QUANTIZATIONS = { none: 0, nf4: 1, nf4_double: 2 } as const;
export type Quantization = keyof typeof QUANTIZATIONS;

/** Bits of `qlora_lora_config.target_modules`. */
export const MODULE_BITS = {
  q_proj: 1,
  k_proj: 2,
  v_proj: 4,
  o_proj: 8,
  gate_proj: 16,
  up_proj: 32,
  down_proj: 64,
} as const;
export type LoraModule = keyof typeof MODULE_BITS;

/** `qlora_recompute`. */
export const RECOMPUTE = { none: 0, full: 1, auto: 2 } as const;
export type Recompute = keyof typeof RECOMPUTE;

/** `qlora_host_memory`. */
export const HOST_BITS = { embeddings: 1, head: 2, optimizer: 4 } as const;
export type HostTensors = keyof typeof HOST_BITS;

/** How to create a model. */
export interface ModelOptions {
  /** @default {"nf4_double"} */
  readonly quantization?: Quantization;
  /** @default {"auto"} */
  readonly backend?: Backend;
  /** CPU threads; 0: all. @default {0} */
  readonly threads?: number;
  /** CUDA ordinal. @default {0} */
  readonly device?: number;
  /**
   * Device bytes the model and its handles may use, the device's context included; 0: what is free.
   *
   * @default {0}
   */
  readonly memoryBudget?: number;
  /** What is kept in pinned host memory to save the device's. @default {[]} */
  readonly hostMemory?: readonly HostTensors[];
}

/** LoRA settings under PEFT's meaning. */
export interface LoraOptions {
  readonly r: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly targetModules: readonly LoraModule[];
  /** @default {false} */
  readonly useRslora?: boolean;
  /** Of A's initial values. @default {0} */
  readonly seed?: number;
}

/** Trainer settings the memory plan and the trainer share. */
export interface TrainOptions {
  /** Capacity of a micro-batch: tokens, sequences, targets. */
  readonly maxTokens: number;
  readonly maxSequences: number;
  readonly maxTargets: number;
  /** @default {"auto"} */
  readonly recompute?: Recompute;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  /** 0: no clipping. */
  readonly maxGradNorm?: number;
  readonly dropoutSeed?: number;
}

const ERROR_BYTES = 4096;

/** NUL-terminated UTF-8. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/** Reads the message a failed call left in the caller's buffer. */
export function errorText(buffer: Uint8Array<ArrayBuffer>): string {
  const end = buffer.indexOf(0);
  return new TextDecoder().decode(buffer.subarray(0, end < 0 ? buffer.length : end));
}

/** A fresh buffer for such a message. */
export function errorBuffer(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(ERROR_BYTES);
}

/** Reads a handle's message. */
export function readMessage(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

/**
 * A base model with at most one LoRA adapter.
 *
 * Calls on a model, its trainer and its generators are queued one after another. Dispose it with
 * `await using` (inside braces) or `close()`: the garbage collector does not see device memory.
 */
export class Model implements AsyncDisposable {
  #handle: Deno.PointerValue;
  #queue: Promise<unknown> = Promise.resolve();
  readonly #cancelFlag = new Int32Array(1);
  readonly #children = new Set<AsyncDisposable>();
  /** Closures of calls under way: they keep the arrays that native code points into alive. */
  readonly #pinned = new Set<() => number | Promise<number>>();

  private constructor(
    readonly library: Library,
    readonly architecture: Architecture,
    readonly quantization: Quantization,
    handle: Deno.PointerValue,
  ) {
    this.#handle = handle;
    const code = library.symbols.qlora_model_set_cancel_flag(handle, this.#cancelFlag);
    unwrap(code, () => this.#message());
  }

  /**
   * Creates an empty model of the given shape on the chosen backend.
   *
   * @throws {EngineError} no library, an impossible shape, not enough memory
   */
  static async create(architecture: Architecture, options: ModelOptions = {}): Promise<Model> {
    const library = loadLibrary(options.backend ?? "auto");
    const quantization = options.quantization ?? "nf4_double";
    const config = encodeModelConfig(library, architecture, options);
    const out = new BigUint64Array(1);
    const error = errorBuffer();
    const code = await library.symbols.qlora_model_create(
      config,
      out,
      error,
      BigInt(error.length),
    );
    unwrap(code, () => errorText(error));
    return new Model(library, architecture, quantization, Deno.UnsafePointer.create(out[0] ?? 0n));
  }

  /** The native handle. @throws {EngineError} after `close()` */
  get handle(): NonNullable<Deno.PointerValue> {
    if (this.#handle === null) {
      throw new EngineError("state", "This model was closed. Load it again.");
    }
    return this.#handle;
  }

  /**
   * Runs one native call when all earlier ones have returned, and cancels it through the signal.
   *
   * @throws {EngineError} as the call fails; the signal's reason when it was cancelled by it
   */
  async call(
    run: () => number | Promise<number>,
    message: () => string,
    signal?: AbortSignal,
  ): Promise<void> {
    const turn = this.#queue.then(() => this.#run(run, message, signal));
    this.#queue = turn.catch(() => {});
    await turn;
  }

  async #run(
    run: () => number | Promise<number>,
    message: () => string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    signal?.throwIfAborted();
    const cancel = () => Atomics.store(this.#cancelFlag, 0, 1);
    signal?.addEventListener("abort", cancel, { once: true });
    this.#pinned.add(run);
    try {
      const code = await run();
      if (code === 3) signal?.throwIfAborted();
      unwrap(code, message);
    } finally {
      this.#pinned.delete(run);
      signal?.removeEventListener("abort", cancel);
      Atomics.store(this.#cancelFlag, 0, 0);
    }
  }

  #message(): string {
    return readMessage(this.library.symbols.qlora_model_error(this.handle));
  }

  /** Registers a trainer or generator that must be closed before the model. */
  adopt(child: AsyncDisposable): void {
    this.#children.add(child);
  }

  /** Forgets a closed trainer or generator. */
  release(child: AsyncDisposable): void {
    this.#children.delete(child);
  }

  /**
   * Gives one checkpoint tensor to the model; linears are quantised on arrival.
   *
   * @param name its Hugging Face name
   * @param data row-major bytes, needed only until the promise resolves
   */
  async loadTensor(
    name: string,
    dtype: Dtype,
    shape: readonly number[],
    data: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const cName = cString(name);
    const dims = BigInt64Array.from(shape, (n) => BigInt(n));
    await this.call(
      () =>
        this.library.symbols.qlora_model_load_tensor(
          this.handle,
          cName,
          DTYPES[dtype],
          dims,
          shape.length,
          data,
          BigInt(data.byteLength),
        ),
      () => this.#message(),
    );
  }

  /** Declares the checkpoint complete. @throws {EngineError} naming missing tensors */
  async finalize(): Promise<void> {
    await this.call(
      () => this.library.symbols.qlora_model_finalize(this.handle),
      () => this.#message(),
    );
  }

  /** Random weights made on the device in place of a checkpoint; `finalize` follows as after one. */
  async loadRandom(seed: number, std = 0.02): Promise<void> {
    await this.call(
      () => this.library.symbols.qlora_model_load_random(this.handle, BigInt(seed), std),
      () => this.#message(),
    );
  }

  /** A base tensor as the computation sees it, dequantised. count: elements. */
  async readTensor(name: string, count: number): Promise<Float32Array<ArrayBuffer>> {
    const values = new Float32Array(count);
    const cName = cString(name);
    await this.call(
      () => this.library.symbols.qlora_model_read_tensor(this.handle, cName, values, BigInt(count)),
      () => this.#message(),
    );
    return values;
  }

  /**
   * One part of a quantised linear, in the bytes `loadTensor` takes for it.
   *
   * @param name `X.weight`, `X.weight.absmax`, `.nested_absmax` or `.nested_offset` (one float)
   * @param data exactly as long as the part
   */
  async readPart(name: string, data: Uint8Array<ArrayBuffer>): Promise<void> {
    const cName = cString(name);
    await this.call(
      () =>
        this.library.symbols.qlora_model_read_part(
          this.handle,
          cName,
          data,
          BigInt(data.byteLength),
        ),
      () => this.#message(),
    );
  }

  /** Adds a fresh adapter: A kaiming-uniform, B zero, so that nothing changes yet. */
  async attachLora(options: LoraOptions): Promise<void> {
    const config = encodeLoraConfig(this.library, options);
    await this.call(
      () => this.library.symbols.qlora_model_attach_lora(this.handle, config),
      () => this.#message(),
    );
  }

  /** Removes the adapter. */
  async detachLora(): Promise<void> {
    await this.call(
      () => this.library.symbols.qlora_model_detach_lora(this.handle),
      () => this.#message(),
    );
  }

  /** Switches between the tuned model (true) and the base model (false). */
  async enableLora(enabled: boolean): Promise<void> {
    await this.call(
      () => this.library.symbols.qlora_model_enable_lora(this.handle, enabled ? 1 : 0),
      () => this.#message(),
    );
  }

  /** One adapter tensor, e.g. `model.layers.0.self_attn.q_proj.lora_A.weight`. */
  async readLora(name: string, count: number): Promise<Float32Array<ArrayBuffer>> {
    const values = new Float32Array(count);
    const cName = cString(name);
    await this.call(
      () => this.library.symbols.qlora_model_read_lora(this.handle, cName, values, BigInt(count)),
      () => this.#message(),
    );
    return values;
  }

  /** Overwrites one adapter tensor. */
  async writeLora(name: string, values: Float32Array<ArrayBuffer>): Promise<void> {
    const cName = cString(name);
    await this.call(
      () =>
        this.library.symbols.qlora_model_write_lora(
          this.handle,
          cName,
          values,
          BigInt(values.length),
        ),
      () => this.#message(),
    );
  }

  /**
   * Negative log-likelihood of every target, dropout off.
   *
   * @returns (targets) nats
   */
  async evaluate(batch: Batch, signal?: AbortSignal): Promise<Float32Array<ArrayBuffer>> {
    const native = encodeBatch(batch);
    const nll = new Float32Array(batch.targetIds.length);
    await this.call(
      () => this.library.symbols.qlora_model_evaluate(this.handle, native.struct, nll),
      () => this.#message(),
      signal,
    );
    return nll;
  }

  /** Logits at every target's row. @returns (targets × vocabulary) row-major */
  async logits(batch: Batch): Promise<Float32Array<ArrayBuffer>> {
    const native = encodeBatch(batch);
    const logits = new Float32Array(batch.targetIds.length * this.architecture.vocabSize);
    await this.call(
      () => this.library.symbols.qlora_model_logits(this.handle, native.struct, logits),
      () => this.#message(),
    );
    return logits;
  }

  /** What is allocated now, by kind. */
  memory(): MemoryReport {
    const report = new Uint8Array(MEMORY_REPORT.size);
    writeStruct(MEMORY_REPORT, report, { struct_size: MEMORY_REPORT.size });
    const code = this.library.symbols.qlora_model_memory(this.handle, report);
    unwrap(code, () => this.#message());
    return readMemoryReport(report);
  }

  /** Waits for running calls, then frees everything. Idempotent. */
  async close(): Promise<void> {
    for (const child of [...this.#children]) await child[Symbol.asyncDispose]();
    await this.#queue;
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    this.library.symbols.qlora_model_destroy(handle);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The struct for `qlora_model_create` and `qlora_plan_training`. */
export function encodeModelConfig(
  library: Library,
  a: Architecture,
  options: ModelOptions,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(MODEL_CONFIG.size);
  library.symbols.qlora_model_config_default(bytes);
  writeStruct(MODEL_CONFIG, bytes, {
    struct_size: MODEL_CONFIG.size,
    hidden_size: a.hiddenSize,
    intermediate_size: a.intermediateSize,
    num_layers: a.numLayers,
    num_heads: a.numHeads,
    num_kv_heads: a.numKvHeads,
    head_dim: a.headDim,
    vocab_size: a.vocabSize,
    max_position: a.maxPosition,
    rope_scaling: a.ropeScaling === null ? 0 : 1,
    rope_theta: a.ropeTheta,
    rope_factor: a.ropeScaling?.factor ?? 1,
    rope_low_freq_factor: a.ropeScaling?.lowFreqFactor ?? 1,
    rope_high_freq_factor: a.ropeScaling?.highFreqFactor ?? 4,
    rope_original_max_position: a.ropeScaling?.originalMaxPosition ?? a.maxPosition,
    tie_word_embeddings: a.tieWordEmbeddings ? 1 : 0,
    qkv_bias: a.qkvBias ? 1 : 0,
    qk_norm: a.qkNorm ? 1 : 0,
    rms_norm_eps: a.rmsNormEps,
    quantization: QUANTIZATIONS[options.quantization ?? "nf4_double"],
    device: options.device ?? 0,
    threads: options.threads ?? 0,
    host_memory: (options.hostMemory ?? []).reduce((bits, tensors) => bits | HOST_BITS[tensors], 0),
    memory_budget: options.memoryBudget ?? 0,
  });
  return bytes;
}

/** The struct for `qlora_model_attach_lora` and `qlora_plan_training`. */
export function encodeLoraConfig(library: Library, options: LoraOptions): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(LORA_CONFIG.size);
  library.symbols.qlora_lora_config_default(bytes);
  writeStruct(LORA_CONFIG, bytes, {
    struct_size: LORA_CONFIG.size,
    rank: options.r,
    alpha: options.alpha,
    dropout: options.dropout,
    target_modules: options.targetModules.reduce((bits, m) => bits | MODULE_BITS[m], 0),
    use_rslora: options.useRslora === true ? 1 : 0,
    seed: BigInt(options.seed ?? 0),
  });
  return bytes;
}

/** The struct for `qlora_trainer_create` and `qlora_plan_training`. */
export function encodeTrainConfig(
  library: Library,
  options: TrainOptions,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(TRAIN_CONFIG.size);
  library.symbols.qlora_train_config_default(bytes);
  writeStruct(TRAIN_CONFIG, bytes, {
    struct_size: TRAIN_CONFIG.size,
    max_tokens: options.maxTokens,
    max_sequences: options.maxSequences,
    max_targets: options.maxTargets,
    recompute: RECOMPUTE[options.recompute ?? "auto"],
    ...(options.beta1 === undefined ? {} : { beta1: options.beta1 }),
    ...(options.beta2 === undefined ? {} : { beta2: options.beta2 }),
    ...(options.epsilon === undefined ? {} : { epsilon: options.epsilon }),
    ...(options.weightDecay === undefined ? {} : { weight_decay: options.weightDecay }),
    ...(options.maxGradNorm === undefined ? {} : { max_grad_norm: options.maxGradNorm }),
    dropout_seed: BigInt(options.dropoutSeed ?? 0),
  });
  return bytes;
}

/** A memory plan, and whether it fits. */
export interface TrainingPlan {
  readonly report: MemoryReport;
  /** null: it fits; else the engine's explanation with the largest setting that would. */
  readonly problem: string | null;
}

/** What training would allocate, before anything is loaded. */
export function planTraining(
  architecture: Architecture,
  model: ModelOptions,
  lora: LoraOptions,
  train: TrainOptions,
): TrainingPlan {
  return plan(architecture, model, lora, train);
}

/** What the base model and an adapter take, without training's or generation's own memory. */
export function planModel(
  architecture: Architecture,
  model: ModelOptions,
  lora: LoraOptions | null = null,
): TrainingPlan {
  return plan(architecture, model, lora, null);
}

function plan(
  architecture: Architecture,
  model: ModelOptions,
  lora: LoraOptions | null,
  train: TrainOptions | null,
): TrainingPlan {
  const library = loadLibrary(model.backend ?? "auto");
  const report = new Uint8Array(MEMORY_REPORT.size);
  writeStruct(MEMORY_REPORT, report, { struct_size: MEMORY_REPORT.size });
  const error = errorBuffer();
  const code = library.symbols.qlora_plan_training(
    encodeModelConfig(library, architecture, model),
    lora === null ? null : encodeLoraConfig(library, lora),
    train === null ? null : encodeTrainConfig(library, train),
    report,
    error,
    BigInt(error.length),
  );
  if (code !== 2) unwrap(code, () => errorText(error));
  return { report: readMemoryReport(report), problem: code === 2 ? errorText(error) : null };
}
