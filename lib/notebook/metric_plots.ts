/**
 * Bars of evaluation metrics with their 95 % intervals: both systems, and what the adapter changed.
 *
 * @module
 */
import { type MetricId, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { Estimate, EvaluationResults } from "@lib/evaluation/report.ts";
import type { Figure } from "./figure.ts";
import { type BarSeries, groupedBar } from "./plot_bars.ts";
import type { PlotOptions } from "./plot_layout.ts";

/** A value with the ends of its interval, where they are known. */
type Ends = Pick<Estimate, "value" | "low" | "high">;

const gap = (value: number | null) => value ?? NaN;

/** A series of bars from estimates, each multiplied by its factor. */
function series(name: string, list: readonly Ends[], factors: readonly number[]): BarSeries {
  const of = (part: keyof Ends) => list.map((one, i) => (factors[i] ?? 1) * gap(one[part]));
  return { name, values: of("value"), low: of("low"), high: of("high") };
}

/** What brings a metric to a scale of 100: shares and F1 are multiplied, the rest is as it is. */
function factorOf(id: MetricId): number {
  const { unit } = metricInfo(id);
  return unit === "share" || unit === "0..1" ? 100 : 1;
}

/** Options of {@linkcode metricBars}. */
export interface MetricBarsOptions extends PlotOptions {
  /** One estimate a metric of what the references themselves reach. @default no third series */
  readonly reference?: readonly Ends[];
}

/** Base and tuned side by side for some metrics; shares and F1 times 100. */
export function metricBars(
  { systems }: EvaluationResults,
  ids: readonly MetricId[],
  { reference, ...options }: MetricBarsOptions = {},
): Figure {
  const factors = ids.map(factorOf);
  const of = (system: "base" | "tuned") => ids.map((id) => systems[system].metrics[id]);
  return groupedBar(ids.map((id) => metricInfo(id).label), [
    series("base", of("base"), factors),
    series("tuned", of("tuned"), factors),
    ...reference === undefined ? [] : [series("reference", reference, factors)],
  ], options);
}

/** The paired differences tuned − base with their intervals; shares and F1 times 100. */
export function differenceBars(
  { differences }: EvaluationResults,
  ids: readonly MetricId[],
  options: PlotOptions = {},
): Figure {
  const list = ids.map((id) => {
    const { difference: value, low, high } = differences[id];
    return { value, low, high };
  });
  return groupedBar(
    ids.map((id) => metricInfo(id).label),
    [series("tuned − base", list, ids.map(factorOf))],
    options,
  );
}
