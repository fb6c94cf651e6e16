/** How answers are drawn: the settings of a configuration, and the ranges they must lie in. */
import type { Config } from "@lib/config.ts";
import type { Sampling } from "@lib/engine/generator.ts";

/** Settings no answer can be drawn with. The message names the setting, its range and its value. */
export class SamplingError extends Error {
  override readonly name = "SamplingError";
}

/** Sampling without what belongs to one answer: its seed and the ids that end it. */
export type SamplingSettings = Omit<Sampling, "stopIds" | "seed">;

/** Sampling settings of a configuration. */
export function samplingOf(config: Config): SamplingSettings {
  const g = config.generation;
  return {
    maxNewTokens: g.max_new_tokens,
    temperature: g.temperature,
    topP: g.top_p,
    topK: g.top_k,
    minP: g.min_p,
    repetitionPenalty: g.repetition_penalty,
  };
}

/** What the C ABI holds in 32 bits. */
const INT32_MAX = 2 ** 31 - 1;
/** Stop strings are looked for after every token: more than a few serve nobody. */
export const MAX_STOP_STRINGS = 16;
/** UTF-16 units of the longest stop string: so much text may be held back. */
export const MAX_STOP_LENGTH = 256;

interface Range {
  readonly expected: string;
  holds(value: number): boolean;
}

const whole = (low: number, high: number): Range => ({
  expected: `a whole number from ${low} to ${high}`,
  holds: (value) => Number.isInteger(value) && value >= low && value <= high,
});

const RANGES: Readonly<Record<keyof Omit<Sampling, "stopIds">, Range>> = {
  maxNewTokens: whole(1, INT32_MAX),
  temperature: {
    expected: "0 (greedy) or a positive number",
    holds: (value) => Number.isFinite(value) && value >= 0,
  },
  topP: { expected: "above 0 and at most 1", holds: (value) => value > 0 && value <= 1 },
  minP: { expected: "from 0 to 1", holds: (value) => value >= 0 && value <= 1 },
  topK: whole(0, INT32_MAX),
  repetitionPenalty: {
    expected: "a positive number",
    holds: (value) => Number.isFinite(value) && value > 0,
  },
  seed: whole(0, Number.MAX_SAFE_INTEGER),
};

/**
 * Refuses settings out of range, NaN among them.
 *
 * @param sampling settings; those left out keep their defaults
 * @throws {SamplingError} naming the setting
 *
 * @example
 * ```ts
 * import { checkSampling, SamplingError } from "@lib/generation/sampling.ts";
 * import { assertThrows } from "@std/assert";
 * checkSampling({ maxNewTokens: 20, temperature: 0.7, stopIds: [] });
 * assertThrows(
 *   () => checkSampling({ maxNewTokens: 20, temperature: -1, stopIds: [] }),
 *   SamplingError,
 *   "temperature: expected 0 (greedy) or a positive number, found -1",
 * );
 * ```
 */
export function checkSampling(sampling: Sampling): void {
  for (const [name, range] of Object.entries(RANGES)) {
    const value = sampling[name as keyof typeof RANGES];
    if (value === undefined || range.holds(value)) continue;
    throw new SamplingError(`${name}: expected ${range.expected}, found ${value}.`);
  }
  const bad = sampling.stopIds.find((id) => !Number.isInteger(id) || id < 0 || id > INT32_MAX);
  if (bad !== undefined) {
    throw new SamplingError(`stopIds: expected token ids of the model, found ${bad}.`);
  }
}

/** Refuses stop strings that could never match or would be costly. @throws {SamplingError} */
export function checkStopStrings(stop: readonly string[]): void {
  if (stop.length > MAX_STOP_STRINGS) {
    throw new SamplingError(
      `stop: expected at most ${MAX_STOP_STRINGS} strings, found ${stop.length}.`,
    );
  }
  for (const text of stop) {
    if (text === "") {
      throw new SamplingError(
        "stop: expected strings of at least one character, found an empty one.",
      );
    }
    if (text.length > MAX_STOP_LENGTH) {
      throw new SamplingError(
        `stop: expected strings of at most ${MAX_STOP_LENGTH} characters, found ${text.length}.`,
      );
    }
    if (!text.isWellFormed()) {
      throw new SamplingError("stop: expected Unicode text, found a lone surrogate.");
    }
  }
}
