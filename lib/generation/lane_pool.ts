/** The lanes of one model, and who of them holds device memory. */
import type { Model } from "@lib/engine/model.ts";
import { EngineError } from "@lib/engine/status.ts";
import { Lane, type LaneOptions } from "@lib/generation/lane.ts";
import type { AnswerRequest } from "@lib/generation/request.ts";

/** What all lanes have in common. */
export type LanePoolOptions = Omit<LaneOptions, "system" | "prefix"> & {
  /** Beginnings that many prompts share; empty ones do not count. */
  readonly prefixes: readonly (readonly number[])[];
};

/** One lane a system and known prefix, made when first asked for. */
export class LanePool {
  readonly #lanes = new Map<string, Lane>();
  /** Longest first. */
  readonly #prefixes: readonly (readonly number[])[];
  /** The lane that waits for the memory of the others. */
  #starved: Lane | null = null;

  constructor(readonly model: Model, readonly options: LanePoolOptions) {
    const prefixes = options.prefixes.filter((ids) => ids.length > 0);
    this.#prefixes = prefixes.toSorted((a, b) => b.length - a.length);
  }

  /** All of them. */
  get lanes(): readonly Lane[] {
    return [...this.#lanes.values()];
  }

  /** Those that somebody waits for. */
  get busy(): readonly Lane[] {
    return this.lanes.filter((lane) => lane.busy);
  }

  /** Whether a lane may take newcomers in: not while another waits for its memory. */
  get admits(): boolean {
    return this.#starved === null || !this.#starved.busy;
  }

  /** The lane of a request: of its system and the longest known prefix it begins with. */
  laneOf({ system, promptIds }: AnswerRequest): Lane {
    const at = this.#prefixes.findIndex((prefix) =>
      prefix.length < promptIds.length && prefix.every((id, i) => promptIds[i] === id)
    );
    const key = `${system} ${at}`;
    const known = this.#lanes.get(key);
    if (known !== undefined) return known;
    const { prefixes: _, ...common } = this.options;
    const prefix = this.#prefixes[at] ?? [];
    const lane = new Lane(this.model, { ...common, system, prefix });
    this.#lanes.set(key, lane);
    return lane;
  }

  /**
   * Makes room for a lane. Where memory is short, lanes with nobody in the decode give theirs up; if
   * that is not enough the others take nobody in until they are empty.
   *
   * @returns false: it has to wait
   * @throws {EngineError} it does not fit even alone, or the device fails
   */
  async open(lane: Lane, signal: AbortSignal): Promise<boolean> {
    if (lane.open) return true;
    const others = () => this.lanes.filter((other) => other.open && other !== lane);
    if (this.#starved === lane && others().some((other) => other.live > 0)) return false;
    for (;;) {
      try {
        await lane.prepare(signal);
        if (this.#starved === lane || !this.#starved?.busy) this.#starved = null;
        return true;
      } catch (error) {
        const short = error instanceof EngineError && error.status === "out_of_memory";
        if (!short || others().length === 0) throw error;
      }
      const idle = others().filter((other) => other.live === 0);
      if (idle.length === 0) {
        if (this.admits) this.#starved = lane;
        return false;
      }
      for (const other of idle) await other.release();
    }
  }

  /** Ends every request with an error. */
  failAll(reason: unknown): void {
    for (const lane of this.lanes) lane.fail(reason);
  }

  /** Frees all device memory. */
  async release(): Promise<void> {
    for (const lane of this.lanes) await lane.release();
    this.#lanes.clear();
  }
}
