/**
 * Values and aligned tables as text, for terminals and reports.
 *
 * @module
 */

/** A value in three digits, a large one in whole numbers; a dash where there is none. */
export function formatValue(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3).replace(/e\+?/, "e");
}

/** A value with the ends of its interval, where they are known. */
export interface Ends {
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
}

/**
 * `value [low, high]`; a dash where there is no value.
 *
 * @example
 * ```ts
 * import { formatInterval } from "@lib/report/text_table.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(formatInterval({ value: 12, low: 10.5, high: 13.25 }), "12.0 [10.5, 13.3]");
 * assertEquals(formatInterval({ value: null, low: null, high: null }), "–");
 * ```
 */
export function formatInterval(ends: Ends | undefined): string {
  if (ends === undefined || ends.value === null) return "–";
  return `${formatValue(ends.value)} [${formatValue(ends.low)}, ${formatValue(ends.high)}]`;
}

/**
 * Rows of equally many cells as lines with aligned columns.
 *
 * @example
 * ```ts
 * import { alignedLines } from "@lib/report/text_table.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(alignedLines([["metric", "base"], ["BLEU", "1.36"]]), [
 *   "metric   base",
 *   "BLEU     1.36",
 * ]);
 * ```
 */
export function alignedLines(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, [...cell].length));
  }
  return rows.map((row) =>
    row.map((cell, i) => cell + " ".repeat((widths[i] ?? 0) - [...cell].length)).join("   ")
      .trimEnd()
  );
}
