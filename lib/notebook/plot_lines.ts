/**
 * Lines and points: each function takes plain data and returns a figure; `show` draws it.
 *
 * @module
 */
import { type Figure, type ScatterTrace, seriesColor, type Trace } from "./figure.ts";
import { makeLayout, type PlotOptions } from "./plot_layout.ts";
import { checkLengths, finite } from "./plot_values.ts";

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

const abscissae = (series: Series) => finite(series.x ?? series.y.map((_, at) => at + 1));

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
 * import { line } from "@lib/notebook/plot_lines.ts";
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
