/**
 * The plots of the course: each function takes plain data and returns a figure; `show` draws it.
 *
 * @module
 */
import {
  type BarTrace,
  type ErrorBars,
  type Figure,
  type ScatterTrace,
  seriesColor,
  type Trace,
} from "./figure.ts";
import { formatNumber } from "./table.ts";
import { makeLayout, type PlotOptions } from "./plot_layout.ts";
import { fiveNumbers, histogramBins } from "./plot_statistics.ts";

/** A named row of points. */
export interface Series {
  readonly name: string;
  /** @default 1, 2, 3 … */
  readonly x?: readonly number[];
  readonly y: readonly number[];
  /** Lower and upper edge of a band around a line. */
  readonly low?: readonly number[];
  readonly high?: readonly number[];
  /** Texts shown when the pointer rests on a point. */
  readonly labels?: readonly string[];
  /** Draws the line dashed. @default {false} */
  readonly dashed?: boolean;
}

/** Values a group, in order: a record or a list of pairs. */
export type Named<T> = Readonly<Record<string, T>> | readonly (readonly [string, T])[];

const entriesOf = <T>(named: Named<T>): readonly (readonly [string, T])[] =>
  Array.isArray(named) ? named : Object.entries(named);
const finite = (values: readonly number[]) =>
  values.map((value) => Number.isFinite(value) ? value : null);
const abscissae = (series: Series) => finite(series.x ?? series.y.map((_, at) => at + 1));

function checkLengths(name: string, expected: number, lists: Readonly<Record<string, number>>) {
  for (const [list, length] of Object.entries(lists)) {
    if (length === expected) continue;
    throw new RangeError(
      `Cannot plot "${name}": expected ${expected} values in ${list}, as many as its points, ` +
        `found ${length}`,
    );
  }
}

function checkSeries(series: Series): void {
  const { name, x, y, low, high, labels } = series;
  checkLengths(name, y.length, {
    ...(x ? { x: x.length } : {}),
    ...(low ? { low: low.length } : {}),
    ...(high ? { high: high.length } : {}),
    ...(labels ? { labels: labels.length } : {}),
  });
}

function bandTraces(series: Series, at: number): ScatterTrace[] {
  const { name, low, high } = series;
  if (!low || !high) return [];
  const base = {
    type: "scatter",
    mode: "lines",
    name,
    x: abscissae(series),
    line: { color: seriesColor(at), width: 0 },
    showlegend: false,
    hoverinfo: "skip",
  } as const;
  return [
    { ...base, y: finite(low) },
    { ...base, y: finite(high), fill: "tonexty", fillcolor: `${seriesColor(at)}33` },
  ];
}

/**
 * Lines, each with a band where `low` and `high` are given.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { line } from "@lib/notebook/plots.ts";
 *
 * const figure = line([{ name: "train", y: [3.1, 2.2, 1.9] }], { title: "Loss", xLabel: "step" });
 * assertEquals(figure.data[0]?.name, "train");
 * ```
 */
export function line(series: readonly Series[], options: PlotOptions = {}): Figure {
  series.forEach(checkSeries);
  const data = series.flatMap((one, at): Trace[] => [
    ...bandTraces(one, at),
    {
      type: "scatter",
      mode: one.y.length > 40 ? "lines" : "lines+markers",
      name: one.name,
      x: abscissae(one),
      y: finite(one.y),
      line: { color: seriesColor(at), width: 2, ...(one.dashed ? { dash: "dash" } : {}) },
      marker: { color: seriesColor(at), size: 5 },
      ...(one.labels ? { text: one.labels } : {}),
    },
  ]);
  return { data, layout: makeLayout(options, { legend: series.map(({ name }) => name) }) };
}

/** Points, one colour a series. */
export function scatter(series: readonly Series[], options: PlotOptions = {}): Figure {
  series.forEach(checkSeries);
  const data = series.map((one, at): Trace => ({
    type: "scatter",
    mode: "markers",
    name: one.name,
    x: abscissae(one),
    y: finite(one.y),
    marker: { color: seriesColor(at), size: 6, opacity: 0.75 },
    ...(one.labels ? { text: one.labels } : {}),
  }));
  return { data, layout: makeLayout(options, { legend: series.map(({ name }) => name) }) };
}

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
