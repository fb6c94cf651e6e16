/** Sets of byte positions as sorted, disjoint ranges. */

/** From `start` up to but not including `end`. */
export type Range = readonly [start: number, end: number];

/**
 * Adds a range to a set.
 *
 * @returns sorted and disjoint, neighbours joined
 *
 * @example
 * ```ts
 * import { addRange } from "@lib/weights/hub/ranges.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(addRange([[0, 4], [8, 9]], [4, 6]), [[0, 6], [8, 9]]);
 * ```
 */
export function addRange(ranges: readonly Range[], added: Range): Range[] {
  let [start, end] = added;
  if (start >= end) return [...ranges];
  const apart: Range[] = [];
  for (const range of ranges) {
    if (range[1] < start || range[0] > end) apart.push(range);
    else [start, end] = [Math.min(start, range[0]), Math.max(end, range[1])];
  }
  return [...apart, [start, end] as const].sort((a, b) => a[0] - b[0]);
}

/** What of `0 … size` is not in the set. */
export function missingRanges(ranges: readonly Range[], size: number): Range[] {
  const missing: Range[] = [];
  let at = 0;
  for (const [start, end] of ranges) {
    if (start > at) missing.push([at, start]);
    at = Math.max(at, end);
  }
  if (at < size) missing.push([at, size]);
  return missing;
}

/** Cuts ranges into pieces of at most `bytes`. */
export function splitRanges(ranges: readonly Range[], bytes: number): Range[] {
  return ranges.flatMap(([start, end]) =>
    Array.from({ length: Math.ceil((end - start) / bytes) }, (_, i): Range => {
      const from = start + i * bytes;
      return [from, Math.min(end, from + bytes)];
    })
  );
}

/** Positions in the set. */
export function rangeBytes(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [start, end]) => sum + end - start, 0);
}
