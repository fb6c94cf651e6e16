/** Requests that decode together: one system, one shared prefix, one generator. */
import { setImmediate } from "node:timers";
import { type GeneratedToken, Generator } from "@lib/engine/generator.ts";
import type { Model } from "@lib/engine/model.ts";
import type { SystemName } from "@lib/generation/request.ts";
import type { Ticket } from "@lib/generation/ticket.ts";

/** What a lane is made for. */
export interface LaneOptions {
  readonly system: SystemName;
  /** Every prompt of the lane begins with these ids and goes on. May be empty. */
  readonly prefix: readonly number[];
  readonly maxSequences: number;
  /** Prompt, prefix included, and answer. */
  readonly maxSequenceTokens: number;
  /** Whether the model has an adapter that has to be switched. */
  readonly hasAdapter: boolean;
}

/** Seconds a run should take, so that newcomers and leavers are noticed soon. */
const RUN_SECONDS = 0.05;
const MAX_STEPS = 16;

/** A queue, and the generator it leads to. Turns of the lanes of one model must not overlap. */
export class Lane {
  readonly #queue: Ticket[] = [];
  readonly #live = new Map<number, Ticket>();
  #generator: Generator | null = null;
  #steps = 1;

  constructor(readonly model: Model, readonly options: LaneOptions) {}

  /** Requests in the decode. */
  get live(): number {
    return this.#live.size;
  }

  /** Requests that have a place: in the decode, or with the next turn. */
  get placed(): number {
    return Math.min(this.#live.size + this.#queue.length, this.options.maxSequences);
  }

  /** Requests that wait for a place. */
  get waiting(): number {
    return this.#live.size + this.#queue.length - this.placed;
  }

  /** Whether a request that comes now has one. */
  get hasPlace(): boolean {
    return this.placed < this.options.maxSequences;
  }

  /** Whether somebody waits for it. */
  get busy(): boolean {
    return this.#live.size + this.#queue.length > 0;
  }

  /** Whether it holds device memory. */
  get open(): boolean {
    return this.#generator !== null;
  }

  /** Puts a request at the end of the queue. */
  enqueue(ticket: Ticket): void {
    this.#queue.push(ticket);
  }

  /** Takes one that was given up out of the queue; one in the decode leaves at the next turn. */
  forget(ticket: Ticket): void {
    const at = this.#queue.indexOf(ticket);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  /** Makes room on the device and computes the prefix. @throws {EngineError} not enough memory */
  async prepare(signal: AbortSignal): Promise<void> {
    if (this.#generator !== null) return;
    const { prefix, maxSequences, maxSequenceTokens } = this.options;
    const generator = await Generator.create(this.model, {
      maxSequences,
      maxSequenceTokens: maxSequenceTokens - prefix.length,
      maxPrefixTokens: prefix.length,
    });
    try {
      await this.#enter();
      if (prefix.length > 0) await generator.setPrefix(Int32Array.from(prefix), signal);
    } catch (error) {
      await generator.close();
      throw error;
    }
    this.#generator = generator;
  }

  /**
   * One turn, of a lane that is open: those given up leave, those who wait join while there are
   * places, then all decode for a moment.
   *
   * @param admit whether anybody may join
   * @param meanwhile done while the engine decodes
   * @returns hands the new tokens to their requests
   * @throws {EngineError} a failed run; nobody in the decode can go on then
   */
  async turn(signal: AbortSignal, admit: boolean, meanwhile: () => void): Promise<() => void> {
    const generator = this.#generator;
    if (generator === null) return () => {};
    await this.#enter();
    await this.#leave(generator);
    while (admit && this.#live.size < this.options.maxSequences) {
      const ticket = this.#queue.shift();
      if (ticket === undefined) break;
      await this.#admit(generator, ticket);
    }
    if (this.#live.size === 0) return () => {};
    const begun = performance.now();
    const running = generator.run(this.#steps, signal);
    running.catch(() => {}); // it is awaited below, perhaps after it has failed
    await new Promise<void>((resolve) => setImmediate(resolve)); // the engine is at work by then
    meanwhile();
    const { tokens } = await running;
    this.#pace((performance.now() - begun) / 1000);
    return this.#handOut(tokens);
  }

  /** Makes the model the lane's system. */
  async #enter(): Promise<void> {
    if (this.options.hasAdapter) await this.model.enableLora(this.options.system === "tuned");
  }

  /** Takes a request in; one that cannot be added fails alone. */
  async #admit(generator: Generator, ticket: Ticket): Promise<void> {
    const { promptIds, sampling } = ticket.request;
    ticket.admit();
    try {
      const own = Int32Array.from(promptIds.slice(this.options.prefix.length));
      this.#live.set(await generator.add(own, sampling), ticket);
    } catch (error) {
      ticket.fail(error);
    }
  }

  /** Frees the places of requests that nobody waits for. */
  async #leave(generator: Generator): Promise<void> {
    for (const [sequence, ticket] of this.#live) {
      if (!ticket.over) continue;
      this.#live.delete(sequence);
      await generator.remove(sequence);
    }
  }

  /** Chooses the steps of the next run by the time this one took. */
  #pace(seconds: number): void {
    const fitting = Math.floor(RUN_SECONDS / (seconds / this.#steps));
    this.#steps = Math.max(1, Math.min(fitting, 2 * this.#steps, MAX_STEPS));
  }

  /** Sorts the tokens to their requests; those the engine has let go leave at once. */
  #handOut(tokens: readonly GeneratedToken[]): () => void {
    const bySequence = Map.groupBy(tokens, (token) => token.sequence);
    const news = [...bySequence].map(([sequence, fresh]) => {
      const ticket = this.#live.get(sequence);
      if (fresh.at(-1)?.finish !== "none") this.#live.delete(sequence);
      return () => ticket?.accept(fresh);
    });
    return () => news.forEach((tell) => tell());
  }

  /** Ends every request in it with an error. */
  fail(reason: unknown): void {
    const all = [...this.#live.values(), ...this.#queue];
    this.#live.clear();
    this.#queue.length = 0;
    for (const ticket of all) ticket.fail(reason);
  }

  /** Frees its device memory; whoever is in the decode is lost. Idempotent. */
  async release(): Promise<void> {
    const generator = this.#generator;
    this.#generator = null;
    await generator?.close();
  }
}
