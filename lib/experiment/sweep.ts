/**
 * Sweeps: one run for every combination of some settings.
 *
 * @module
 */
import { type Config, ConfigError, configKeys, resolveConfig, SEED_ALIASES } from "@lib/config.ts";
import { closest } from "@lib/closest.ts";

/** A setting and the values it takes. */
export interface Variation {
  /** Dotted key, such as `lora.r`. */
  readonly key: string;
  /** As written after the `=`. */
  readonly values: readonly string[];
}

/** One run of a sweep. */
export interface SweepPoint {
  /** Name of its folder: the base run's and the settings. */
  readonly name: string;
  /** `key=value` pairs. */
  readonly settings: readonly string[];
  readonly config: Config;
}

/** Runs beyond which a sweep is more likely a slip than a wish. */
const MOST_RUNS = 64;

/**
 * Reads `key=value,value,…`; the original project's names are accepted. A list is written in brackets,
 * as JSON.
 *
 * @throws {ConfigError} no such key, no value, or one value twice
 *
 * @example
 * ```ts
 * import { parseVariation } from "@lib/experiment/sweep.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parseVariation("lora.r=4,16,64"), { key: "lora.r", values: ["4", "16", "64"] });
 * assertEquals(parseVariation('lora.target_modules=["q_proj","v_proj"],["q_proj"]').values.length, 2);
 * ```
 */
export function parseVariation(text: string): Variation {
  const [, given = "", list = ""] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  const name = given.trim();
  const key = SEED_ALIASES[name] ?? name;
  if (!configKeys().includes(key)) {
    const guess = closest(name, [...configKeys(), ...Object.keys(SEED_ALIASES)]);
    throw new ConfigError(
      `vary: expected key=value,value such as lora.r=4,16, found '${text}'` +
        (guess === null ? "" : `; did you mean '${guess}'?`),
    );
  }
  const values = (list.match(/\[[^\]]*\]|[^,]+/g) ?? []).map((value) => value.trim())
    .filter((value) => value !== "");
  if (values.length === 0 || new Set(values).size < values.length) {
    throw new ConfigError(`vary ${key}: expected different values, found '${list}'.`);
  }
  return { key, values };
}

/** A value as part of a folder's name. */
const slug = (value: string): string =>
  value.replaceAll(/[^A-Za-z0-9._+-]+/g, "-").replaceAll("+", "").replace(/^-+|-+$/g, "") || "x";

/** Every combination, the last variation changing fastest. */
function combinations(variations: readonly Variation[]): string[][] {
  return variations.reduce<string[][]>(
    (rows, { key, values }) =>
      rows.flatMap((row) => values.map((value) => [...row, `${key}=${value}`])),
    [[]],
  );
}

/**
 * The runs of a sweep around a configuration.
 *
 * @param base name of the run that the others are compared with and named after
 * @throws {ConfigError} a value that does not fit, a key varied twice, or too many runs
 *
 * @example
 * ```ts
 * import { resolveConfig } from "@lib/config.ts";
 * import { sweepPoints } from "@lib/experiment/sweep.ts";
 * import { assertEquals } from "@std/assert";
 * const points = sweepPoints("mine", resolveConfig(), [{ key: "lora.r", values: ["4", "16"] }]);
 * assertEquals(points.map(({ name }) => name), ["mine__lora.r-4", "mine__lora.r-16"]);
 * assertEquals(points[1]?.config.lora.r, 16);
 * ```
 */
export function sweepPoints(
  base: string,
  config: Config,
  variations: readonly Variation[],
): SweepPoint[] {
  const keys = variations.map(({ key }) => key);
  if (keys.length === 0 || new Set(keys).size < keys.length) {
    throw new ConfigError(
      `vary: expected different keys, found ${
        keys.join(", ") || "none"
      }. Write --vary lora.r=4,16.`,
    );
  }
  const rows = combinations(variations);
  if (rows.length > MOST_RUNS) {
    throw new ConfigError(
      `vary: expected at most ${MOST_RUNS} runs, found ${rows.length}. Vary fewer values at a time.`,
    );
  }
  const points = rows.map((settings) => ({
    name: `${base}__${settings.map((pair) => slug(pair.replace("=", "-"))).join("__")}`,
    settings,
    config: resolveConfig({ file: { name: base, value: config }, set: settings }),
  }));
  const names = new Set(points.map(({ name }) => name));
  if (names.size < points.length) {
    throw new ConfigError(
      "vary: expected values whose names differ in a folder's name, found twins.",
    );
  }
  return points;
}

/** Whether a setting decides which rows there are, so that cleaning and splitting must be done again. */
export function changesData({ settings }: SweepPoint): boolean {
  return settings.some((pair) => pair.startsWith("data."));
}
