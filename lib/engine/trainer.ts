/** Gradients and AdamW in the native library. */
import { type Batch, encodeBatch } from "@lib/engine/batch.ts";
import {
  cString,
  encodeTrainConfig,
  errorBuffer,
  errorText,
  type Model,
  readMessage,
  type TrainOptions,
} from "@lib/engine/model.ts";
import { EngineError, unwrap } from "@lib/engine/status.ts";
import { checkedNumber, readStruct, writeStruct } from "@lib/engine/struct.ts";
import { BATCH_RESULT, STEP_RESULT } from "@lib/engine/structs.ts";

/** Sums over one micro-batch. */
export interface BatchResult {
  /** Σ weight · negative log-likelihood, nats. */
  readonly nllSum: number;
  readonly weightSum: number;
}

/** One optimiser step. */
export interface StepResult {
  /** Steps taken, this one included. */
  readonly step: number;
  /** Mean over all targets of the effective batch, nats a token. */
  readonly loss: number;
  readonly weightSum: number;
  /** Of the mean gradient, before clipping. */
  readonly gradNorm: number;
  readonly clipped: boolean;
}

/** Trains the adapter of one model; at most one trainer a model. */
export class Trainer implements AsyncDisposable {
  #handle: Deno.PointerValue;

  private constructor(readonly model: Model, handle: Deno.PointerValue) {
    this.#handle = handle;
    model.adopt(this);
  }

  /** @throws {EngineError} no adapter attached, or not enough memory, with what would fit */
  static async create(model: Model, options: TrainOptions): Promise<Trainer> {
    const config = encodeTrainConfig(model.library, options);
    const out = new BigUint64Array(1);
    const error = errorBuffer();
    await model.call(
      () =>
        model.library.symbols.qlora_trainer_create(
          model.handle,
          config,
          out,
          error,
          BigInt(error.length),
        ),
      () => errorText(error),
    );
    return new Trainer(model, Deno.UnsafePointer.create(out[0] ?? 0n));
  }

  /** The native handle. @throws {EngineError} after `close()` */
  get handle(): NonNullable<Deno.PointerValue> {
    if (this.#handle === null) {
      throw new EngineError("state", "This trainer was closed. Create it again.");
    }
    return this.#handle;
  }

  #message(): string {
    return readMessage(this.model.library.symbols.qlora_trainer_error(this.handle));
  }

  /**
   * Forward and backward of one micro-batch; gradients add up until the next `step`.
   *
   * When the signal aborts, the gradients gathered so far are dropped and its reason is thrown.
   */
  async accumulate(batch: Batch, signal?: AbortSignal): Promise<BatchResult> {
    const native = encodeBatch(batch);
    const result = new Uint8Array(BATCH_RESULT.size);
    writeStruct(BATCH_RESULT, result, { struct_size: BATCH_RESULT.size });
    try {
      await this.model.call(
        () =>
          this.model.library.symbols.qlora_trainer_accumulate(
            this.handle,
            native.struct,
            null,
            result,
          ),
        () => this.#message(),
        signal,
      );
    } catch (error) {
      if (signal?.aborted === true) await this.resetGradients();
      throw error;
    }
    const { nll_sum, weight_sum } = readStruct(BATCH_RESULT, result);
    return { nllSum: nll_sum, weightSum: weight_sum };
  }

  /** Applies the accumulated gradient. @throws {EngineError} `not_finite`, weights unchanged */
  async step(learningRate: number): Promise<StepResult> {
    const result = new Uint8Array(STEP_RESULT.size);
    writeStruct(STEP_RESULT, result, { struct_size: STEP_RESULT.size });
    await this.model.call(
      () => this.model.library.symbols.qlora_trainer_step(this.handle, learningRate, result),
      () => this.#message(),
    );
    const r = readStruct(STEP_RESULT, result);
    return {
      step: r.step,
      loss: r.loss,
      weightSum: r.weight_sum,
      gradNorm: r.grad_norm,
      clipped: r.clipped === 1,
    };
  }

  /** Drops what has been accumulated since the last step. */
  async resetGradients(): Promise<void> {
    await this.model.call(
      () => this.model.library.symbols.qlora_trainer_reset_gradients(this.handle),
      () => this.#message(),
    );
  }

  /** The accumulated, not yet divided gradient of one adapter tensor. */
  async readGradient(name: string, count: number): Promise<Float32Array<ArrayBuffer>> {
    const values = new Float32Array(count);
    const cName = cString(name);
    await this.model.call(
      () =>
        this.model.library.symbols.qlora_trainer_read_gradient(
          this.handle,
          cName,
          values,
          BigInt(count),
        ),
      () => this.#message(),
    );
    return values;
  }

  /** Step count and moments; with the adapter they resume a run bit for bit. */
  async exportState(): Promise<Uint8Array<ArrayBuffer>> {
    const size = new BigInt64Array(1);
    const code = this.model.library.symbols.qlora_trainer_state_bytes(this.handle, size);
    unwrap(code, () => this.#message());
    const data = new Uint8Array(checkedNumber(size[0] ?? 0n, "optimiser state"));
    await this.model.call(
      () =>
        this.model.library.symbols.qlora_trainer_export_state(
          this.handle,
          data,
          BigInt(data.length),
        ),
      () => this.#message(),
    );
    return data;
  }

  /** @throws {EngineError} bytes of another shape or version; nothing changes then */
  async importState(data: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.model.call(
      () =>
        this.model.library.symbols.qlora_trainer_import_state(
          this.handle,
          data,
          BigInt(data.length),
        ),
      () => this.#message(),
    );
  }

  /** Frees gradients, moments and activations. Idempotent. */
  async close(): Promise<void> {
    if (this.#handle === null) return;
    const handle = this.#handle;
    this.#handle = null;
    await this.model.call(
      () => {
        this.model.library.symbols.qlora_trainer_destroy(handle);
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
