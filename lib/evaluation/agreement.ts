/**
 * Agreement of two raters on an ordinal scale.
 *
 * @module
 */

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

/**
 * Exact agreement and Cohen's weighted κ (1968) = 1 − Σ w·observed / Σ w·expected, w = (a − b)².
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
  if (first.length !== second.length || first.length === 0) {
    throw new RangeError(
      `Cannot compare ratings: expected two lists of one length, found ${first.length} and ` +
        `${second.length} ratings.`,
    );
  }
  const confusion = Array.from({ length: levels }, () => new Array<number>(levels).fill(0));
  first.forEach((a, i) => {
    const row = confusion[a];
    const b = second[i] ?? -1;
    if (row === undefined || row[b] === undefined) {
      throw new RangeError(
        `Cannot compare ratings: expected levels 0..${levels - 1}, found ${a} and ${b} at ${i}.`,
      );
    }
    row[b]++;
  });
  const n = first.length;
  const rows = confusion.map((row) => row.reduce((x, y) => x + y, 0));
  const columns = rows.map((_, b) => confusion.reduce((sum, row) => sum + (row[b] ?? 0), 0));
  let observed = 0;
  let expected = 0;
  let same = 0;
  confusion.forEach((row, a) =>
    row.forEach((count, b) => {
      observed += (a - b) ** 2 * count;
      expected += (a - b) ** 2 * (rows[a] ?? 0) * (columns[b] ?? 0) / n;
      if (a === b) same += count;
    })
  );
  return { n, exact: same / n, weightedKappa: 1 - observed / expected, confusion };
}
