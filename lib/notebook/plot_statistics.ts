/**
 * The small statistics that plots need: bins and quartiles.
 *
 * @module
 */

/** Bins of equal width over a range. */
export interface Bins {
  readonly centres: readonly number[];
  readonly width: number;
  /** How many of the values fall into each bin; values that are not finite into none. */
  count(values: readonly number[]): readonly number[];
}

function range(values: readonly number[]): readonly [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}

/** Bins over the range of `values`; whole numbers get bins of whole width. */
export function histogramBins(values: readonly number[], bins: number): Bins {
  if (!Number.isInteger(bins) || bins < 1) {
    throw new RangeError(`Cannot make bins: expected a whole number from 1, found ${bins}`);
  }
  const [low, high] = range(values);
  const whole = values.every((value) => Number.isInteger(value) || !Number.isFinite(value));
  const raw = whole ? (high - low + 1) / bins : (high - low) / bins;
  const width = (whole ? Math.max(1, Math.ceil(raw)) : raw) || 1;
  const start = whole ? low - 0.5 : low;
  const needed = whole ? Math.max(1, Math.ceil((high - low + 1) / width)) : bins;
  return {
    width,
    centres: Array.from({ length: needed }, (_, at) => start + (at + 0.5) * width),
    count(group) {
      const counts = new Array<number>(needed).fill(0);
      for (const value of group) {
        if (!Number.isFinite(value)) continue;
        const at = Math.min(needed - 1, Math.max(0, Math.floor((value - start) / width)));
        counts[at] = (counts[at] ?? 0) + 1;
      }
      return counts;
    },
  };
}

/** What a box shows. */
export interface FiveNumbers {
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  /** Lowest value within 1.5 interquartile ranges of the box. */
  readonly low: number;
  /** Highest such value. */
  readonly high: number;
  readonly mean: number;
}

/**
 * Quartiles by linear interpolation between order statistics (Hyndman and Fan's type 7).
 *
 * @throws {RangeError} where no value is finite
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { fiveNumbers } from "@lib/notebook/plot_statistics.ts";
 *
 * assertEquals(fiveNumbers([1, 2, 3, 4, 100]), { q1: 2, median: 3, q3: 4, low: 1, high: 4, mean: 22 });
 * ```
 */
export function fiveNumbers(values: readonly number[]): FiveNumbers {
  const sorted = values.filter(Number.isFinite).toSorted((a, b) => a - b);
  const first = sorted[0];
  const last = sorted.at(-1);
  if (first === undefined || last === undefined) {
    throw new RangeError("Cannot find quartiles: expected at least one finite value, found none");
  }
  const quantile = (share: number) => {
    const place = share * (sorted.length - 1);
    const below = sorted[Math.floor(place)] ?? first;
    const above = sorted[Math.ceil(place)] ?? last;
    return below + (place - Math.floor(place)) * (above - below);
  };
  const [q1, median, q3] = [quantile(0.25), quantile(0.5), quantile(0.75)];
  const reach = 1.5 * (q3 - q1);
  return {
    q1,
    median,
    q3,
    low: sorted.find((value) => value >= q1 - reach) ?? first,
    high: sorted.findLast((value) => value <= q3 + reach) ?? last,
    mean: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
  };
}
