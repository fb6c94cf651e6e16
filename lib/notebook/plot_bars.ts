/**
 * Bars: one a name, or several a category with confidence intervals.
 *
 * @module
 */
import { type BarTrace, type ErrorBars, type Figure, seriesColor } from "./figure.ts";
import { makeLayout, type PlotOptions } from "./plot_layout.ts";
import { checkLengths, entriesOf, finite, type Named } from "./plot_values.ts";
import { formatNumber } from "./table.ts";

/** Options of {@linkcode bar}. */
export interface BarOptions extends PlotOptions {
  /** Lying bars, best for long or many names. @default true above 8 bars */
  readonly horizontal?: boolean;
  /** Longest bar first. @default {false} */
  readonly sort?: boolean;
}

/** Pixels a lying bar takes. */
const BAR_ROW = 22;

/** One bar a name, its value written at its end. */
export function bar(
  values: readonly (readonly [string, number])[],
  options?: BarOptions,
): Figure;
/** One bar a key of a record. */
export function bar(values: Readonly<Record<string, number>>, options?: BarOptions): Figure;
export function bar(values: Named<number>, options: BarOptions = {}): Figure {
  const given = entriesOf(values);
  const { horizontal = given.length > 8, sort = false, ...plot } = options;
  const entries = sort ? given.toSorted(([, a], [, b]) => b - a) : given;
  const names = entries.map(([name]) => name);
  const heights = finite(entries.map(([, value]) => value));
  const look = {
    type: "bar",
    name: plot.yLabel ?? "",
    marker: { color: seriesColor(0) },
    text: entries.map(([, value]) => formatNumber(value, 2)),
    textposition: "outside",
    cliponaxis: false,
  } as const;
  if (!horizontal) {
    return {
      data: [{ ...look, orientation: "v", x: names, y: heights }],
      layout: makeLayout(plot, { xCategories: names, y: roomFor(heights) }),
    };
  }
  const height = Math.max(plot.height ?? 0, 110 + BAR_ROW * names.length);
  return {
    data: [{ ...look, orientation: "h", x: heights, y: names }],
    layout: makeLayout({ ...plot, height }, {
      yCategories: names,
      x: roomFor(heights),
      y: { type: "category", autorange: "reversed" },
    }),
  };
}

/** A range from zero with room for the numbers at the bars' ends. */
function roomFor(values: readonly (number | null)[]): { range?: readonly [number, number] } {
  const known = values.filter((value) => value !== null);
  const high = Math.max(0, ...known);
  const low = Math.min(0, ...known);
  const span = high - low;
  if (span === 0) return {};
  return { range: [low < 0 ? low - 0.12 * span : 0, high > 0 ? high + 0.12 * span : 0] };
}

/** Bars of one series in {@linkcode groupedBar}: values with the ends of their intervals. */
export interface BarSeries {
  readonly name: string;
  readonly values: readonly number[];
  /** Lower ends of the intervals, in the values' own unit. */
  readonly low?: readonly number[];
  /** Upper ends of the intervals. */
  readonly high?: readonly number[];
}

function errorBars({ values, low, high }: BarSeries): { error_y?: ErrorBars } {
  if (!low || !high) return {};
  const reach = (ends: readonly number[], sign: 1 | -1) =>
    finite(values.map((value, at) => Math.max(0, sign * ((ends[at] ?? value) - value))));
  return {
    error_y: {
      type: "data",
      symmetric: false,
      array: reach(high, 1),
      arrayminus: reach(low, -1),
      thickness: 1.5,
      width: 5,
      color: "#333333",
    },
  };
}

/** Bars side by side for each category, with confidence intervals where given. */
export function groupedBar(
  categories: readonly string[],
  series: readonly BarSeries[],
  options: PlotOptions = {},
): Figure {
  const data = series.map((one, at): BarTrace => {
    checkLengths(one.name, categories.length, {
      values: one.values.length,
      ...(one.low ? { low: one.low.length } : {}),
      ...(one.high ? { high: one.high.length } : {}),
    });
    return {
      type: "bar",
      name: one.name,
      orientation: "v",
      x: categories,
      y: finite(one.values),
      marker: { color: seriesColor(at) },
      ...errorBars(one),
    };
  });
  const needs = {
    xCategories: categories,
    legend: series.map(({ name }) => name),
    barmode: "group",
  } as const;
  return { data, layout: makeLayout(options, needs) };
}
