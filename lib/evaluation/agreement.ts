/**
 * Agreement of two raters on an ordinal scale.
 *
 * @module
 */
import { type MetricTable, scoreOf, statisticsOf, sumRows } from "./statistics.ts";

/** Agreement on one criterion. */
export interface Agreement {
  readonly n: number;
  /** Share of items on which both give the same level. */
  readonly exact: number;
  /** Cohen's κ with quadratic weights; NaN when neither rater ever varies. */
  readonly weightedKappa: number;
  /** `confusion[a][b]`: how often the first rater gave a and the second b. */
  readonly confusion: readonly (readonly number[])[];
}

/** @throws {RangeError} lists of unequal length, or an empty list */
function checkRatings(first: readonly number[], second: readonly number[]): void {
  if (first.length === second.length && first.length > 0) return;
  throw new RangeError(
    `Cannot compare ratings: expected two lists of one length, found ${first.length} and ` +
      `${second.length} ratings.`,
  );
}

function kappaOfSums(sums: Float64Array, levels: number): number {
  const at = (a: number, b: number): number => sums[a * levels + b] ?? 0;
  const range = Array.from({ length: levels }, (_, level) => level);
  const rows = range.map((a) => range.reduce((sum, b) => sum + at(a, b), 0));
  const columns = range.map((b) => range.reduce((sum, a) => sum + at(a, b), 0));
  const n = rows.reduce((sum, row) => sum + row, 0);
  let observed = 0;
  let expected = 0;
  for (const a of range) {
    for (const b of range) {
      observed += (a - b) ** 2 * at(a, b);
      expected += (a - b) ** 2 * (rows[a] ?? 0) * (columns[b] ?? 0) / n;
    }
  }
  return 1 - observed / expected;
}

/**
 * Cohen's weighted κ (1968) as a table over items, so that `bootstrapInterval` gives its interval.
 *
 * @param levels number of levels; ratings are 0..levels−1
 * @throws {RangeError} lists of unequal length, an empty list, or a rating out of range
 */
export function kappaTable(
  first: readonly number[],
  second: readonly number[],
  levels: number,
): MetricTable {
  checkRatings(first, second);
  const isLevel = (rating: number) => Number.isInteger(rating) && rating >= 0 && rating < levels;
  const rows = first.map((a, i) => {
    const b = second[i] ?? -1;
    if (!isLevel(a) || !isLevel(b)) {
      throw new RangeError(
        `Cannot compare ratings: expected levels 0..${levels - 1}, found ${a} and ${b} at ${i}.`,
      );
    }
    const row = new Array<number>(levels * levels).fill(0);
    row[a * levels + b] = 1;
    return row;
  });
  return {
    statistics: statisticsOf(rows, levels * levels),
    score: (sums) => kappaOfSums(sums, levels),
  };
}

/**
 * Exact agreement and Cohen's weighted κ = 1 − Σ w·observed / Σ w·expected, w = (a − b)².
 *
 * @param levels number of levels; ratings are 0..levels−1
 * @throws {RangeError} lists of unequal length, an empty list, or a rating out of range
 *
 * @example
 * ```ts
 * import { agreement } from "@lib/evaluation/agreement.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(agreement([0, 1, 2], [0, 1, 2], 3).weightedKappa, 1);
 * ```
 */
export function agreement(
  first: readonly number[],
  second: readonly number[],
  levels: number,
): Agreement {
  const table = kappaTable(first, second, levels);
  const counts = sumRows(table.statistics);
  const confusion = Array.from(
    { length: levels },
    (_, a) => [...counts.subarray(a * levels, (a + 1) * levels)],
  );
  const same = confusion.reduce((sum, row, level) => sum + (row[level] ?? 0), 0);
  return {
    n: first.length,
    exact: same / first.length,
    weightedKappa: scoreOf(table),
    confusion,
  };
}
