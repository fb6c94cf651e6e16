/**
 * Krippendorff's α: agreement of any number of raters, with gaps, on ordered or unordered levels.
 *
 * α = 1 − observed / expected disagreement, both over pairs of ratings of one unit: with coincidences
 * o_ck, their margins n_c and n = Σ n_c, α = 1 − (n − 1) Σ o_ck δ²_ck / Σ n_c n_k δ²_ck
 * (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"). For ordered levels δ_ck counts
 * the ratings between: Σ_{g=c..k} n_g − (n_c + n_k)/2.
 *
 * @module
 */
import { type MetricTable, scoreOf, statisticsOf } from "./statistics.ts";

/** How far apart two levels are. */
export type LevelScale = "nominal" | "ordinal" | "interval";

/** Options of α. */
export interface AlphaOptions {
  /** Number of levels; ratings are 0..levels−1. */
  readonly levels: number;
  /** @default {"ordinal"} */
  readonly scale?: LevelScale;
}

/** Ratings of one unit, one a rater; null where a rater gave none. */
export type UnitRatings = readonly (number | null)[];

/** Coincidences of one unit, `levels × levels`; zeros when fewer than two raters rated it. */
function coincidences(ratings: UnitRatings, levels: number, unit: number): number[] {
  const counts = new Array<number>(levels).fill(0);
  for (const rating of ratings) {
    if (rating === null) continue;
    const count = counts[rating];
    if (count === undefined) {
      throw new RangeError(
        `Cannot compute α: expected levels 0..${levels - 1}, found ${rating} in unit ${unit}.`,
      );
    }
    counts[rating] = count + 1;
  }
  const raters = counts.reduce((sum, count) => sum + count, 0);
  if (raters < 2) return new Array<number>(levels * levels).fill(0);
  return counts.flatMap((a, c) =>
    counts.map((b, k) => (c === k ? a * (a - 1) : a * b) / (raters - 1))
  );
}

/** δ² of two levels, given how often each was used. */
function distance(c: number, k: number, margins: readonly number[], scale: LevelScale): number {
  if (scale === "nominal") return c === k ? 0 : 1;
  if (scale === "interval") return (c - k) ** 2;
  const [low, high] = c < k ? [c, k] : [k, c];
  const between = margins.slice(low, high + 1).reduce((sum, count) => sum + count, 0);
  return (between - ((margins[c] ?? 0) + (margins[k] ?? 0)) / 2) ** 2;
}

function alphaOfSums(sums: Float64Array, levels: number, scale: LevelScale): number {
  const margins = Array.from(
    { length: levels },
    (_, c) => sums.subarray(c * levels, (c + 1) * levels).reduce((sum, one) => sum + one, 0),
  );
  const n = margins.reduce((sum, count) => sum + count, 0);
  let observed = 0;
  let expected = 0;
  for (let c = 0; c < levels; c++) {
    for (let k = 0; k < levels; k++) {
      const apart = distance(c, k, margins, scale);
      observed += (sums[c * levels + k] ?? 0) * apart;
      expected += (margins[c] ?? 0) * (margins[k] ?? 0) * apart;
    }
  }
  return 1 - (n - 1) * observed / expected;
}

/**
 * α as a table over units, so that `bootstrapInterval` gives its interval by group.
 *
 * @throws {RangeError} a rating outside the levels
 */
export function alphaTable(units: readonly UnitRatings[], options: AlphaOptions): MetricTable {
  const { levels, scale = "ordinal" } = options;
  const rows = units.map((ratings, i) => coincidences(ratings, levels, i));
  return {
    statistics: statisticsOf(rows, levels * levels),
    score: (sums) => alphaOfSums(sums, levels, scale),
  };
}

/**
 * Krippendorff's α of all units; NaN when no unit has two ratings or all ratings are one level.
 *
 * @throws {RangeError} a rating outside the levels
 *
 * @example
 * ```ts
 * import { krippendorffAlpha } from "@lib/evaluation/krippendorff.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(krippendorffAlpha([[0, 0], [2, 2], [1, null]], { levels: 3 }), 1);
 * ```
 */
export function krippendorffAlpha(units: readonly UnitRatings[], options: AlphaOptions): number {
  return scoreOf(alphaTable(units, options));
}
