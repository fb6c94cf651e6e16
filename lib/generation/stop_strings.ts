/** Ends an answer at given strings, without ever showing the beginning of one. */

/** What one piece of text gave. */
export interface StopStep {
  /** Text that may be shown. */
  readonly text: string;
  /** Whether a stop string was met; nothing of it or after it is in `text`. */
  readonly stopped: boolean;
}

/**
 * Looks for stop strings in growing text. What may turn out to be the beginning of one is held back
 * until that is decided.
 *
 * @example
 * ```ts
 * import { StopStrings } from "@lib/generation/stop_strings.ts";
 * import { assertEquals } from "@std/assert";
 * const stop = new StopStrings(["END"]);
 * assertEquals(stop.push("ab E"), { text: "ab ", stopped: false });
 * assertEquals(stop.push("ND, more"), { text: "", stopped: true });
 * ```
 */
export class StopStrings {
  #held = "";

  /** @param stops non-empty strings; none: everything passes */
  constructor(readonly stops: readonly string[]) {}

  /** Takes the next piece of text. */
  push(text: string): StopStep {
    const seen = this.#held + text;
    const found = this.stops.map((stop) => seen.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: seen.slice(0, Math.min(...found)), stopped: true };
    }
    const shown = seen.length - Math.max(0, ...this.stops.map((stop) => overlap(seen, stop)));
    this.#held = seen.slice(shown);
    return { text: seen.slice(0, shown), stopped: false };
  }

  /** What was held back, when the answer has ended by itself. */
  end(): string {
    const rest = this.#held;
    this.#held = "";
    return rest;
  }
}

/** Length of the longest end of `text` that `stop` begins with, shorter than `stop` itself. */
function overlap(text: string, stop: string): number {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--) {
    if (text.endsWith(stop.slice(0, n))) return n;
  }
  return 0;
}
