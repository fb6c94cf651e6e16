/**
 * Metrics as sums: each item yields a row of numbers, the score is a function of the rows' sum.
 *
 * That is what makes a bootstrap cheap: a draw adds up rows and never looks at a text again. Corpus
 * BLEU and chrF sum n-gram counts; a mean is the row `[value, 1]` and the score `sum / count`.
 *
 * @module
 */

/** Rows of sufficient statistics, one an item, stored one after the other. */
export interface Statistics {
  readonly items: number;
  /** Numbers a row. */
  readonly width: number;
  /** `items × width`, row-major. */
  readonly values: Float64Array;
}

/** Score of summed statistics; NaN where it is undefined (no item to average over). */
export type ScoreOfSums = (sums: Float64Array) => number;

/** One metric's statistics over a set of items, with what turns their sum into the score. */
export interface MetricTable {
  readonly statistics: Statistics;
  readonly score: ScoreOfSums;
}

/** @throws {RangeError} rows of unequal length */
export function statisticsOf(rows: readonly (readonly number[])[], width: number): Statistics {
  const values = new Float64Array(rows.length * width);
  rows.forEach((row, i) => {
    if (row.length !== width) {
      throw new RangeError(
        `Cannot build statistics: expected ${width} numbers in row ${i}, found ${row.length}.`,
      );
    }
    values.set(row, i * width);
  });
  return { items: rows.length, width, values };
}

/** Sum of all rows. */
export function sumRows({ items, width, values }: Statistics): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < items; i++) {
    for (let j = 0; j < width; j++) sums[j] = (sums[j] ?? 0) + (values[i * width + j] ?? 0);
  }
  return sums;
}

/** A ratio of two sums: `scale × Σa / Σb`, NaN when Σb = 0. */
export function ratioTable(
  rows: readonly (readonly [numerator: number, denominator: number])[],
  scale = 1,
): MetricTable {
  return {
    statistics: statisticsOf(rows, 2),
    score: (sums) => scale * (sums[0] ?? 0) / (sums[1] ?? 0),
  };
}

/**
 * The mean of values; an item without a value (null) is left out.
 *
 * @example
 * ```ts
 * import { meanTable, scoreOf } from "@lib/evaluation/statistics.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(scoreOf(meanTable([1, null, 0])), 0.5);
 * ```
 */
export function meanTable(values: readonly (number | null)[], scale = 1): MetricTable {
  return ratioTable(values.map((value) => value === null ? [0, 0] : [value, 1]), scale);
}

/** The metric over all items. */
export function scoreOf({ statistics, score }: MetricTable): number {
  return score(sumRows(statistics));
}

/** The metric of one item. */
export function rowScore({ statistics, score }: MetricTable, item: number): number {
  const { width, values } = statistics;
  return score(values.subarray(item * width, (item + 1) * width));
}
