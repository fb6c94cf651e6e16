/** Batched decoding in the native library. */
import { addressOf } from "@lib/engine/batch.ts";
import { errorBuffer, errorText, type Model, readMessage } from "@lib/engine/model.ts";
import { EngineError } from "@lib/engine/status.ts";
import { checkedNumber, readStruct, writeStruct } from "@lib/engine/struct.ts";
import { GENERATED_TOKEN, GENERATOR_CONFIG, SAMPLING } from "@lib/engine/structs.ts";

/** Sizes fixed when a generator is created. */
export interface GeneratorOptions {
  /** Sequences decoded together. */
  readonly maxSequences: number;
  /** Prompt without the shared prefix, plus answer. */
  readonly maxSequenceTokens: number;
  /** @default {0} */
  readonly maxPrefixTokens?: number;
}

/** How one answer is drawn. Order as in transformers: penalty, temperature, top-k, top-p, min-p. */
export interface Sampling {
  readonly maxNewTokens: number;
  readonly stopIds: readonly number[];
  /** 0: greedy. @default {0} */
  readonly temperature?: number;
  /** @default {1} */
  readonly topP?: number;
  /** @default {0} */
  readonly minP?: number;
  /** @default {0} */
  readonly topK?: number;
  /** @default {1} */
  readonly repetitionPenalty?: number;
  /** @default {0} */
  readonly seed?: number;
}

/** Why a sequence ended; `none` while it is live; `failed`: its logits are not finite. */
export const FINISHES = ["none", "stop", "length", "removed", "failed"] as const;
export type Finish = (typeof FINISHES)[number];

/** One decoded token. */
export interface GeneratedToken {
  readonly sequence: number;
  readonly token: number;
  /** Under the unmodified distribution, nats. */
  readonly logprob: number;
  readonly finish: Finish;
}

/** What one `run` gave. */
export interface GeneratorRun {
  readonly tokens: readonly GeneratedToken[];
  /** Sequences still live. */
  readonly live: number;
}

/** Settings encoded for one native call; the struct points into `stopIds`. */
interface NativeSampling {
  readonly struct: Uint8Array<ArrayBuffer>;
  readonly stopIds: Int32Array<ArrayBuffer>;
}

function encodeSampling(model: Model, sampling: Sampling): NativeSampling {
  const stopIds = Int32Array.from(sampling.stopIds);
  const struct = new Uint8Array(SAMPLING.size);
  model.library.symbols.qlora_sampling_default(struct);
  writeStruct(SAMPLING, struct, {
    struct_size: SAMPLING.size,
    max_new_tokens: sampling.maxNewTokens,
    temperature: sampling.temperature ?? 0,
    top_p: sampling.topP ?? 1,
    min_p: sampling.minP ?? 0,
    repetition_penalty: sampling.repetitionPenalty ?? 1,
    top_k: sampling.topK ?? 0,
    num_stop_ids: stopIds.length,
    seed: BigInt(sampling.seed ?? 0),
    stop_ids: addressOf(stopIds),
  });
  return { struct, stopIds };
}

/** Decodes many sequences together over one shared prefix. */
export class Generator implements AsyncDisposable {
  #handle: Deno.PointerValue;

  private constructor(
    readonly model: Model,
    readonly options: Required<GeneratorOptions>,
    handle: Deno.PointerValue,
  ) {
    this.#handle = handle;
    model.adopt(this);
  }

  /** @throws {EngineError} not enough memory for the caches */
  static async create(model: Model, options: GeneratorOptions): Promise<Generator> {
    const full = { maxPrefixTokens: 0, ...options };
    const config = new Uint8Array(GENERATOR_CONFIG.size);
    model.library.symbols.qlora_generator_config_default(config);
    writeStruct(GENERATOR_CONFIG, config, {
      struct_size: GENERATOR_CONFIG.size,
      max_sequences: full.maxSequences,
      max_sequence_tokens: full.maxSequenceTokens,
      max_prefix_tokens: full.maxPrefixTokens,
    });
    const out = new BigUint64Array(1);
    const error = errorBuffer();
    await model.call(
      () =>
        model.library.symbols.qlora_generator_create(
          model.handle,
          config,
          out,
          error,
          BigInt(error.length),
        ),
      () => errorText(error),
    );
    return new Generator(model, full, Deno.UnsafePointer.create(out[0] ?? 0n));
  }

  /** The native handle. @throws {EngineError} after `close()` */
  get handle(): NonNullable<Deno.PointerValue> {
    if (this.#handle === null) {
      throw new EngineError("state", "This generator was closed. Create it again.");
    }
    return this.#handle;
  }

  #message(): string {
    return readMessage(this.model.library.symbols.qlora_generator_error(this.handle));
  }

  /** Computes the shared prefix once; sequences added later start behind it. */
  async setPrefix(tokenIds: Int32Array<ArrayBuffer>, signal?: AbortSignal): Promise<void> {
    await this.model.call(
      () =>
        this.model.library.symbols.qlora_generator_set_prefix(
          this.handle,
          tokenIds,
          tokenIds.length,
        ),
      () => this.#message(),
      signal,
    );
  }

  /**
   * Queues a prompt (without the prefix).
   *
   * @returns the sequence's number
   * @throws {EngineError} `out_of_memory` when all places are taken: run, then add again
   */
  async add(tokenIds: Int32Array<ArrayBuffer>, sampling: Sampling): Promise<number> {
    const native = encodeSampling(this.model, sampling);
    const out = new Int32Array(1);
    await this.model.call(
      () =>
        this.model.library.symbols.qlora_generator_add(
          this.handle,
          tokenIds,
          tokenIds.length,
          native.struct,
          out,
        ),
      () => this.#message(),
    );
    return out[0] ?? -1;
  }

  /** Drops a sequence. */
  async remove(sequence: number): Promise<void> {
    await this.model.call(
      () => this.model.library.symbols.qlora_generator_remove(this.handle, sequence),
      () => this.#message(),
    );
  }

  /** Prefills queued prompts, then decodes up to `maxSteps` tokens a sequence. */
  async run(maxSteps: number, signal?: AbortSignal): Promise<GeneratorRun> {
    const capacity = maxSteps * this.options.maxSequences;
    const tokens = new Uint8Array(capacity * GENERATED_TOKEN.size);
    const count = new BigInt64Array(1);
    const live = new Int32Array(1);
    await this.model.call(
      () =>
        this.model.library.symbols.qlora_generator_run(
          this.handle,
          maxSteps,
          tokens,
          BigInt(capacity),
          count,
          live,
        ),
      () => this.#message(),
      signal,
    );
    const emitted: GeneratedToken[] = [];
    for (let i = 0; i < checkedNumber(count[0] ?? 0n, "generated tokens"); i++) {
      const value = readStruct(GENERATED_TOKEN, tokens, i * GENERATED_TOKEN.size);
      emitted.push({ ...value, finish: FINISHES[value.finish] ?? "none" });
    }
    return { tokens: emitted, live: live[0] ?? 0 };
  }

  /** Frees the caches. Idempotent. */
  async close(): Promise<void> {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    await this.model.call(
      () => {
        this.model.library.symbols.qlora_generator_destroy(handle);
        return 0;
      },
      () => "",
    );
    this.model.release(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
