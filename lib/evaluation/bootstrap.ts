/**
 * Bootstrap intervals by group (percentile method) and the paired bootstrap of a difference.
 *
 * Groups, not items, are drawn: near-duplicates and turns of one conversation are not independent.
 * Every metric and both systems see the same draws.
 *
 * @module
 */
import { randomInt, seededRandom } from "@lib/random.ts";
import { type MetricTable, scoreOf, type Statistics } from "./statistics.ts";

/** The seed of every interval, unless another is asked for. */
export const BOOTSTRAP_SEED = 12345;
/** Draws, unless another number is asked for. */
export const BOOTSTRAP_DRAWS = 1000;

/** How to draw. */
export interface DrawOptions {
  /** @default {1000} */
  readonly draws?: number;
  /** @default {12345} */
  readonly seed?: number;
}

/** Draws of groups with replacement, ready to be applied to any metric of the same items. */
export interface Draws {
  readonly draws: number;
  /** Number of distinct groups. */
  readonly groups: number;
  /** Place of each item's group, 0..groups−1. */
  readonly groupOfItem: Uint32Array;
  /** `draws × groups`: the groups drawn. */
  readonly picks: Uint32Array;
}

/**
 * Draws as many groups as there are, with replacement.
 *
 * @param groups the group of each item
 * @throws {RangeError} no items, or fewer than 100 draws
 */
export function drawGroups(
  groups: readonly (number | string)[],
  options: DrawOptions = {},
): Draws {
  const { draws = BOOTSTRAP_DRAWS, seed = BOOTSTRAP_SEED } = options;
  if (groups.length === 0) {
    throw new RangeError("Cannot draw: expected at least one item, found none.");
  }
  if (!Number.isInteger(draws) || draws < 100) {
    throw new RangeError(`Cannot draw: expected at least 100 draws, found ${draws}.`);
  }
  const places = new Map<number | string, number>();
  const groupOfItem = Uint32Array.from(groups, (group) => {
    const place = places.get(group) ?? places.size;
    places.set(group, place);
    return place;
  });
  const random = seededRandom(seed);
  const picks = new Uint32Array(draws * places.size);
  for (let i = 0; i < picks.length; i++) picks[i] = randomInt(random, places.size);
  return { draws, groups: places.size, groupOfItem, picks };
}

/** Rows summed by group, `groups × width`. */
function sumByGroup({ items, width, values }: Statistics, draws: Draws): Float64Array {
  if (items !== draws.groupOfItem.length) {
    throw new RangeError(
      `Cannot bootstrap: expected statistics of ${draws.groupOfItem.length} items, found ${items}.`,
    );
  }
  const sums = new Float64Array(draws.groups * width);
  for (let i = 0; i < items; i++) {
    const at = (draws.groupOfItem[i] ?? 0) * width;
    for (let j = 0; j < width; j++) {
      sums[at + j] = (sums[at + j] ?? 0) + (values[i * width + j] ?? 0);
    }
  }
  return sums;
}

/** The metric in each draw; NaN where a draw holds no item with a value. */
export function bootstrapScores(table: MetricTable, draws: Draws): Float64Array {
  const { width } = table.statistics;
  const byGroup = sumByGroup(table.statistics, draws);
  const scores = new Float64Array(draws.draws);
  const sums = new Float64Array(width);
  for (let d = 0; d < draws.draws; d++) {
    sums.fill(0);
    for (let g = 0; g < draws.groups; g++) {
      const at = (draws.picks[d * draws.groups + g] ?? 0) * width;
      for (let j = 0; j < width; j++) sums[j] = (sums[j] ?? 0) + (byGroup[at + j] ?? 0);
    }
    scores[d] = table.score(sums);
  }
  return scores;
}

/** A value with the ends of its interval. */
export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The 2.5th and 97.5th percentile of the finite scores, linearly interpolated. */
export function percentileInterval(scores: Float64Array): { low: number; high: number } {
  const sorted = scores.filter(Number.isFinite).sort();
  const at = (share: number): number => {
    const position = share * (sorted.length - 1);
    const below = sorted[Math.floor(position)] ?? NaN;
    const above = sorted[Math.ceil(position)] ?? NaN;
    return below + (above - below) * (position - Math.floor(position));
  };
  return { low: at(0.025), high: at(0.975) };
}

/**
 * A metric with its 95 % interval.
 *
 * @example
 * ```ts
 * import { bootstrapInterval, drawGroups } from "@lib/evaluation/bootstrap.ts";
 * import { meanTable } from "@lib/evaluation/statistics.ts";
 * import { assert } from "@std/assert";
 * const values = Array.from({ length: 200 }, (_, i) => i % 2);
 * const { value, low, high } = bootstrapInterval(
 *   meanTable(values),
 *   drawGroups(values.map((_, i) => i)),
 * );
 * assert(value === 0.5 && low > 0.4 && high < 0.6);
 * ```
 */
export function bootstrapInterval(table: MetricTable, draws: Draws): Interval {
  return { value: scoreOf(table), ...percentileInterval(bootstrapScores(table, draws)) };
}

/** A difference of two systems on the same items. */
export interface PairedDifference extends Interval {
  /** Two-sided, as sacreBLEU's paired bootstrap defines it. */
  readonly pValue: number;
}

/**
 * The paired bootstrap of `b − a`: both systems are scored on the same draws.
 *
 * p as in sacreBLEU (Moses): with δ the observed |difference| and d* the |difference| in each draw,
 * p = (#{d* − mean(d*) > δ} + 1) / (draws + 1). Where sacreBLEU would call a system significantly
 * different from itself (no draw shows any difference), p is 1.
 */
export function pairedDifference(a: MetricTable, b: MetricTable, draws: Draws): PairedDifference {
  const before = bootstrapScores(a, draws);
  const after = bootstrapScores(b, draws);
  const value = scoreOf(b) - scoreOf(a);
  const differences = after.map((score, i) => score - (before[i] ?? NaN)).filter(Number.isFinite);
  const sizes = differences.map(Math.abs);
  const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
  const beyond = sizes.filter((size) => size - mean > Math.abs(value)).length;
  return {
    value,
    ...percentileInterval(differences),
    pValue: sizes.every((size) => size === 0) ? 1 : (beyond + 1) / (sizes.length + 1),
  };
}
