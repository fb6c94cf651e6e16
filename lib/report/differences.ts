/**
 * What differs between configurations, or between any two flat descriptions.
 *
 * @module
 */

/** A key with its value in each of the things compared. */
export interface Differing {
  readonly key: string;
  /** As text, in order; a dash where the key is missing. */
  readonly values: readonly string[];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Nested keys as dotted names. */
function flat(value: unknown, prefix = ""): [string, string][] {
  if (!isRecord(value)) {
    return [[prefix, typeof value === "string" ? value : JSON.stringify(value) ?? "–"]];
  }
  return Object.entries(value).flatMap(([key, inner]) =>
    flat(inner, prefix === "" ? key : `${prefix}.${key}`)
  );
}

/**
 * The settings in which not all agree, by dotted key, in the order of the first.
 *
 * @example
 * ```ts
 * import { differingSettings } from "@lib/report/differences.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(differingSettings([{ seed: 1, lora: { r: 8 } }, { seed: 1, lora: { r: 16 } }]), [
 *   { key: "lora.r", values: ["8", "16"] },
 * ]);
 * ```
 */
export function differingSettings(things: readonly object[]): Differing[] {
  const tables = things.map((thing) => new Map(flat(thing)));
  const keys = new Set(tables.flatMap((table) => [...table.keys()]));
  return [...keys].flatMap((key) => {
    const values = tables.map((table) => table.get(key) ?? "–");
    return new Set(values).size > 1 ? [{ key, values }] : [];
  });
}
