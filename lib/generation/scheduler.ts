/**
 * Many answers at once from one model: requests that arrive while others are under way join their
 * decode, base and tuned take turns, and a shared beginning of prompts is computed once.
 *
 * A request's text is the same whatever decodes beside it (on a GPU: as far as `qlora_generator_run`
 * in `qlora.h` promises it).
 */
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Model } from "@lib/engine/model.ts";
import { EngineError } from "@lib/engine/status.ts";
import type { Lane } from "@lib/generation/lane.ts";
import { LanePool } from "@lib/generation/lane_pool.ts";
import {
  type AnswerEvent,
  type AnswerRequest,
  checkRequest,
  RequestError,
  SchedulerFull,
} from "@lib/generation/request.ts";
import { Ticket } from "@lib/generation/ticket.ts";

export { type AnswerEvent, type AnswerRequest, RequestError, SchedulerFull };

/** Sizes fixed when a scheduler is created. */
export interface SchedulerOptions {
  /** Requests decoded together, of one system and prefix. */
  readonly maxSequences: number;
  /** Tokens of the longest prompt with its answer: decides about the caches' memory. */
  readonly maxSequenceTokens: number;
  /** Requests that may wait while no place is free. @default {Infinity} */
  readonly maxWaiting?: number;
  /** Beginnings that many prompts share: each is computed once a system. @default {[]} */
  readonly prefixIds?: readonly (readonly number[])[];
}

/** Weight of the latest answer in the running mean of how long answers take. */
const MEAN_WEIGHT = 0.2;
const MAX_RETRY_SECONDS = 600;

/** Decodes the requests of many callers together. See the module's text. */
export class Scheduler implements AsyncDisposable {
  readonly #pool: LanePool;
  readonly #closing = new AbortController();
  #working: Promise<void> | null = null;
  #draining = false;
  /** Why nothing can be answered any more. */
  #lost: { readonly reason: unknown } | null = null;
  /** Hands the tokens of the last run to their requests: work for the time of the next run. */
  #untold: () => void = () => {};
  /** Running mean of the time in the decode. */
  #meanSeconds = 1;

  private constructor(
    readonly model: Model,
    readonly tokenizer: Tokenizer,
    readonly options: SchedulerOptions,
    /** Whether there is a tuned model beside the base. */
    readonly hasAdapter: boolean,
  ) {
    const { maxSequences, maxSequenceTokens, prefixIds = [] } = options;
    const sizes = { maxSequences, maxSequenceTokens, hasAdapter };
    this.#pool = new LanePool(model, { ...sizes, prefixes: prefixIds });
    model.adopt(this);
  }

  /**
   * Takes over a model. Until it is closed the adapter's switch ({@linkcode Model.enableLora}) is the
   * scheduler's; afterwards the adapter is on.
   *
   * @throws {RequestError} a size that is no whole number above 0
   */
  static async create(
    model: Model,
    tokenizer: Tokenizer,
    options: SchedulerOptions,
  ): Promise<Scheduler> {
    for (const name of ["maxSequences", "maxSequenceTokens"] as const) {
      const value = options[name];
      if (Number.isInteger(value) && value >= 1) continue;
      throw new RequestError(`${name}: expected a whole number above 0, found ${value}.`);
    }
    return new Scheduler(model, tokenizer, options, await hasAdapter(model));
  }

  /** Requests that have a place: in the decode, or with the next turn. */
  get live(): number {
    return this.#sum((lane) => lane.placed);
  }

  /** Requests that wait for a place. */
  get waiting(): number {
    return this.#sum((lane) => lane.waiting);
  }

  #sum(count: (lane: Lane) => number): number {
    return this.#pool.lanes.reduce((sum, lane) => sum + count(lane), 0);
  }

  /**
   * Asks for an answer, which is decoded whether or not its events are read. Read them once, with
   * `for await`; leaving the loop gives the request up and frees its place, as its signal does.
   *
   * @returns the events; reading them throws the signal's reason when it was aborted, and what the
   * engine failed with
   * @throws {SchedulerFull} when no place is free and `maxWaiting` requests wait
   * @throws {RequestError | SamplingError} a request that cannot be decoded
   */
  submit(request: AnswerRequest): AsyncIterable<AnswerEvent> {
    if (this.#lost !== null) throw this.#lost.reason;
    if (this.#draining) {
      throw new RequestError("No more answers are given: the scheduler is being closed.");
    }
    checkRequest(request, {
      maxSequenceTokens: this.options.maxSequenceTokens,
      vocabSize: this.model.architecture.vocabSize,
      hasAdapter: this.hasAdapter,
    });
    request.signal?.throwIfAborted();
    const lane = this.#pool.laneOf(request);
    const { waiting } = this;
    if (!lane.hasPlace && waiting >= (this.options.maxWaiting ?? Infinity)) {
      throw new SchedulerFull(waiting, this.#retryAfter(waiting));
    }
    const ticket = new Ticket(request, this.tokenizer, (over) => {
      lane.forget(over);
      const seconds = over.answerSeconds ?? this.#meanSeconds;
      this.#meanSeconds += MEAN_WEIGHT * (seconds - this.#meanSeconds);
    });
    lane.enqueue(ticket);
    this.#working ??= this.#work();
    return ticket.events;
  }

  /** Seconds until those who wait have been answered, as long as answers took of late. */
  #retryAfter(waiting: number): number {
    const seconds = (waiting + 1) / this.options.maxSequences * this.#meanSeconds;
    return Math.max(1, Math.min(MAX_RETRY_SECONDS, Math.ceil(seconds)));
  }

  /** Turn after turn until nobody waits. Never throws: failures go to those they concern. */
  async #work(): Promise<void> {
    await Promise.resolve(); // requests of one moment begin together
    try {
      for (;;) {
        const { busy } = this.#pool;
        if (busy.length === 0) return this.#tell();
        for (const lane of busy) await this.#turn(lane);
      }
    } finally {
      this.#working = null; // at once: the next request starts anew
    }
  }

  /** Hands out the tokens of the last run. */
  #tell(): void {
    const tell = this.#untold;
    this.#untold = () => {};
    tell();
  }

  async #turn(lane: Lane): Promise<void> {
    const { signal } = this.#closing;
    try {
      if (signal.aborted) throw signal.reason;
      if (!lane.open) this.#tell(); // opening takes its time
      if (!await this.#pool.open(lane, signal)) return;
      const untold = await lane.turn(signal, this.#pool.admits, () => this.#tell());
      this.#tell(); // nothing was decoded meanwhile
      this.#untold = untold;
    } catch (error) {
      this.#tell();
      lane.fail(error);
      if (isLoss(error)) this.#loseAll(error);
      await lane.release().catch((reason) => this.#loseAll(reason));
    }
  }

  /** The engine is gone: everybody is told why, those to come too. */
  #loseAll(reason: unknown): void {
    this.#lost ??= { reason };
    this.#pool.failAll(reason);
  }

  /** Refuses new requests from now on and waits until all others are answered. */
  async drain(): Promise<void> {
    this.#draining = true;
    await this.#working;
  }

  /** Gives up whatever is under way and frees the caches. Idempotent. */
  async close(): Promise<void> {
    this.#draining = true;
    this.#closing.abort(new RequestError("The answer was given up: the scheduler was closed."));
    await this.#working;
    await this.#pool.release();
    this.model.release(this);
    if (this.hasAdapter && this.#lost === null) await this.model.enableLora(true);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Failures after which the engine gives no more answers. */
function isLoss(error: unknown): boolean {
  return error instanceof EngineError && (error.status === "device" || error.status === "internal");
}

/** Asks the engine whether an adapter is attached; leaves it switched on. */
async function hasAdapter(model: Model): Promise<boolean> {
  try {
    await model.enableLora(true);
    return true;
  } catch (error) {
    if (error instanceof EngineError && error.status === "state") return false;
    throw error;
  }
}
