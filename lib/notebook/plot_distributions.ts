/**
 * Distributions: histograms and boxes, reckoned here so that a figure stays small.
 *
 * @module
 */
import { type BarTrace, type Figure, seriesColor, type Trace } from "./figure.ts";
import { makeLayout, type PlotOptions } from "./plot_layout.ts";
import { fiveNumbers, histogramBins } from "./plot_statistics.ts";
import { entriesOf, type Named } from "./plot_values.ts";

/** Options of {@linkcode histogram}. */
export interface HistogramOptions extends PlotOptions {
  /** How many bins. @default {30} */
  readonly bins?: number;
}

/** How often values fall into each bin; several groups share the bins and overlay. */
export function histogram(
  values: readonly number[] | Named<readonly number[]>,
  options: HistogramOptions = {},
): Figure {
  const { bins = 30, ...plot } = options;
  const groups = isNumbers(values) ? [["", values] as const] : entriesOf(values);
  const edges = histogramBins(groups.flatMap(([, group]) => group), bins);
  const data = groups.map(([name, group], at): BarTrace => ({
    type: "bar",
    name,
    orientation: "v",
    x: edges.centres,
    y: edges.count(group),
    width: edges.width,
    marker: { color: seriesColor(at), opacity: groups.length > 1 ? 0.6 : 0.9 },
  }));
  const needs = {
    legend: groups.map(([name]) => name),
    barmode: "overlay",
    bargap: 0,
  } as const;
  return { data, layout: makeLayout({ yLabel: "count", ...plot }, needs) };
}

function isNumbers(
  values: readonly number[] | Named<readonly number[]>,
): values is readonly number[] {
  return Array.isArray(values) && (values.length === 0 || typeof values[0] === "number");
}

/** A box a group: quartiles, whiskers at 1.5 interquartile ranges, the mean dashed. */
export function box(
  groups: readonly (readonly [string, readonly number[]])[],
  options?: PlotOptions,
): Figure;
/** A box a key of a record. */
export function box(
  groups: Readonly<Record<string, readonly number[]>>,
  options?: PlotOptions,
): Figure;
export function box(groups: Named<readonly number[]>, options: PlotOptions = {}): Figure {
  const entries = entriesOf(groups).filter(([, values]) => values.length > 0);
  const data = entries.map(([name, values], at): Trace => {
    const { q1, median, q3, low, high, mean } = fiveNumbers(values);
    return {
      type: "box",
      name,
      x: [name],
      q1: [q1],
      median: [median],
      q3: [q3],
      lowerfence: [low],
      upperfence: [high],
      mean: [mean],
      marker: { color: seriesColor(at) },
      line: { color: seriesColor(at), width: 1.5 },
    };
  });
  const layout = makeLayout(options, { xCategories: entries.map(([name]) => name) });
  return { data, layout };
}
