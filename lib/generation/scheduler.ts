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
import { Lane } from "@lib/generation/lane.ts";
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
  /** Requests that may wait for a place. @default {Infinity} */
  readonly maxWaiting?: number;
  /** Beginnings that many prompts share: each is computed once a system. @default {[]} */
  readonly prefixIds?: readonly (readonly number[])[];
}

/** Weight of the latest answer in the running mean of how long answers take. */
const MEAN_WEIGHT = 0.2;
const MAX_RETRY_SECONDS = 600;

/** Decodes the requests of many callers together. See the module's text. */
export class Scheduler implements AsyncDisposable {
  readonly #lanes = new Map<string, Lane>();
  /** Longest first. */
  readonly #prefixes: readonly (readonly number[])[];
  readonly #closing = new AbortController();
  #working: Promise<void> | null = null;
  #draining = false;
  /** Why nothing can be answered any more. */
  #lost: { readonly reason: unknown } | null = null;
  /** Hands the tokens of the last run to their requests: work for the time of the next run. */
  #untold: () => void = () => {};
  /** The lane that waits for the memory of the others. */
  #starved: Lane | null = null;
  /** Running mean of the time in the decode. */
  #meanSeconds = 1;

  private constructor(
    readonly model: Model,
    readonly tokenizer: Tokenizer,
    readonly options: SchedulerOptions,
    /** Whether there is a tuned model beside the base. */
    readonly hasAdapter: boolean,
  ) {
    const prefixes = (options.prefixIds ?? []).filter((ids) => ids.length > 0);
    this.#prefixes = prefixes.toSorted((a, b) => b.length - a.length);
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

  /** Requests in the decode. */
  get live(): number {
    return this.#sum((lane) => lane.live);
  }

  /** Requests that wait for a place. */
  get waiting(): number {
    return this.#sum((lane) => lane.waiting);
  }

  #sum(count: (lane: Lane) => number): number {
    return this.#lanes.values().reduce((sum, lane) => sum + count(lane), 0);
  }

  /**
   * Asks for an answer, which is decoded whether or not its events are read. Read them once, with
   * `for await`; leaving the loop gives the request up and frees its place, as its signal does.
   *
   * @returns the events; reading them throws the signal's reason when it was aborted, and what the
   * engine failed with
   * @throws {SchedulerFull} when `maxWaiting` requests wait
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
    const { waiting } = this;
    if (waiting >= (this.options.maxWaiting ?? Infinity)) {
      throw new SchedulerFull(waiting, this.#retryAfter(waiting));
    }
    const lane = this.#laneOf(request);
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

  /** The lane of its system and of the longest known prefix it begins with. */
  #laneOf({ system, promptIds }: AnswerRequest): Lane {
    const at = this.#prefixes.findIndex((prefix) =>
      prefix.length < promptIds.length && prefix.every((id, i) => promptIds[i] === id)
    );
    const key = `${system} ${at}`;
    const known = this.#lanes.get(key);
    if (known !== undefined) return known;
    const { maxSequences, maxSequenceTokens } = this.options;
    const prefix = this.#prefixes[at] ?? [];
    const { hasAdapter } = this;
    const lane = new Lane(this.model, {
      ...{ system, prefix, maxSequences, maxSequenceTokens, hasAdapter },
    });
    this.#lanes.set(key, lane);
    return lane;
  }

  /** Turn after turn until nobody waits. Never throws: failures go to those they concern. */
  async #work(): Promise<void> {
    await Promise.resolve(); // requests of one moment begin together
    try {
      for (;;) {
        if (this.#starved?.busy === false) this.#starved = null; // its requests were given up
        const busy = [...this.#lanes.values()].filter((lane) => lane.busy);
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
      if (!lane.open && !await this.#openLane(lane)) return;
      const untold = await lane.turn(signal, this.#starved === null, () => this.#tell());
      this.#tell(); // nothing was decoded meanwhile
      this.#untold = untold;
    } catch (error) {
      this.#tell();
      lane.fail(error);
      if (isLoss(error)) this.#loseAll(error);
      await lane.release().catch((reason) => this.#loseAll(reason));
    }
  }

  /**
   * Makes room for a lane. Where memory is short, lanes with nobody in the decode give theirs up; if
   * that is not enough the others take nobody in until they are empty.
   *
   * @returns false: it has to wait
   */
  async #openLane(lane: Lane): Promise<boolean> {
    const others = () => [...this.#lanes.values()].filter((other) => other.open && other !== lane);
    const inUse = () => others().some((other) => other.live > 0);
    this.#tell();
    if (this.#starved === lane && inUse()) return false;
    for (;;) {
      try {
        await lane.prepare(this.#closing.signal);
        if (this.#starved === lane) this.#starved = null;
        return true;
      } catch (error) {
        const short = error instanceof EngineError && error.status === "out_of_memory";
        if (!short || others().length === 0) throw error;
      }
      const idle = others().filter((other) => other.live === 0);
      if (idle.length === 0) {
        this.#starved ??= lane;
        return false;
      }
      for (const other of idle) await other.release();
    }
  }

  /** The engine is gone: everybody is told why, those to come too. */
  #loseAll(reason: unknown): void {
    this.#lost ??= { reason };
    for (const lane of this.#lanes.values()) lane.fail(reason);
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
    for (const lane of this.#lanes.values()) await lane.release();
    this.#lanes.clear();
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
