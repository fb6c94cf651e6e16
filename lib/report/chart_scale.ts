/**
 * Axes of the reports' charts: round ticks, and where a value lies.
 *
 * @module
 */

/** A linear axis from a value range to a pixel range. */
export interface Scale {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** The round step (1, 2 or 5 times a power of ten) that cuts a range into about `count` parts. */
function roundStep(range: number, count: number): number {
  const rough = range / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((one) => one * power >= rough) ?? 10;
  return factor * power;
}

/**
 * A scale whose ends are round and hold all values.
 *
 * @param pixels where the low and the high end lie
 *
 * @example
 * ```ts
 * import { linearScale } from "@lib/report/chart_scale.ts";
 * import { assertEquals } from "@std/assert";
 * const scale = linearScale([0.3, 9.2], [0, 100]);
 * assertEquals([scale.ticks[0], scale.ticks.at(-1), scale.at(5)], [0, 10, 50]);
 * ```
 */
export function linearScale(
  values: readonly number[],
  [from, to]: readonly [number, number],
  count = 5,
): Scale {
  const known = values.filter(Number.isFinite);
  const low = known.reduce((least, one) => Math.min(least, one), Infinity);
  const high = known.reduce((most, one) => Math.max(most, one), -Infinity);
  const [least, most] = known.length === 0
    ? [0, 1]
    : low === high
    ? [low - 0.5, high + 0.5]
    : [low, high];
  const step = roundStep(most - least, count);
  const first = Math.floor(least / step + 1e-9);
  const last = Math.ceil(most / step - 1e-9);
  const ticks = Array.from(
    { length: last - first + 1 },
    (_, i) => Number(((first + i) * step).toPrecision(12)),
  );
  const [start, end] = [first * step, last * step];
  return { ticks, at: (value) => from + (value - start) / (end - start) * (to - from) };
}
