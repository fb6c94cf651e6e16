/**
 * Plotly figures as typed data: what the plot functions make and `show` draws.
 *
 * Values are finite or `null` (a gap): JSON knows no NaN.
 *
 * @module
 */

/** A coordinate: a number, a category's name, or a gap. */
export type Coordinate = number | string | null;

/** Error bars of given lengths around each point. */
export interface ErrorBars {
  readonly type: "data";
  readonly symmetric: false;
  readonly array: readonly (number | null)[];
  readonly arrayminus: readonly (number | null)[];
  readonly thickness: number;
  readonly width: number;
  readonly color: string;
}

/** Points joined by lines, or not. */
export interface ScatterTrace {
  readonly type: "scatter";
  readonly mode: "lines" | "markers" | "lines+markers";
  readonly name: string;
  readonly x: readonly Coordinate[];
  readonly y: readonly Coordinate[];
  readonly text?: readonly string[];
  readonly line?: { readonly color: string; readonly width: number; readonly dash?: string };
  readonly marker?: { readonly color: string; readonly size: number; readonly opacity?: number };
  readonly fill?: "tonexty";
  readonly fillcolor?: string;
  readonly showlegend?: boolean;
  readonly hoverinfo?: "skip";
}

/** Bars, upright or lying. */
export interface BarTrace {
  readonly type: "bar";
  readonly name: string;
  readonly orientation: "v" | "h";
  readonly x: readonly Coordinate[];
  readonly y: readonly Coordinate[];
  readonly marker: { readonly color: string; readonly opacity?: number };
  readonly text?: readonly string[];
  readonly textposition?: "auto" | "outside" | "none";
  readonly cliponaxis?: boolean;
  readonly width?: readonly number[] | number;
  readonly error_x?: ErrorBars;
  readonly error_y?: ErrorBars;
}

/** Boxes from their quartiles: 38,000 values need not travel with the notebook. */
export interface BoxTrace {
  readonly type: "box";
  readonly name: string;
  readonly x: readonly string[];
  readonly q1: readonly number[];
  readonly median: readonly number[];
  readonly q3: readonly number[];
  readonly lowerfence: readonly number[];
  readonly upperfence: readonly number[];
  readonly mean: readonly number[];
  readonly marker: { readonly color: string };
  readonly line: { readonly color: string; readonly width: number };
}

/** One series of a figure. */
export type Trace = ScatterTrace | BarTrace | BoxTrace;

/** One axis. */
export interface Axis {
  readonly title: { readonly text: string; readonly standoff?: number };
  readonly type?: "linear" | "log" | "category";
  readonly range?: readonly [number, number];
  readonly rangemode?: "tozero" | "normal";
  readonly automargin: boolean;
  readonly gridcolor: string;
  readonly linecolor: string;
  readonly zerolinecolor: string;
  readonly tickangle?: number;
  readonly autorange?: "reversed" | true;
  readonly categoryorder?: "array" | "trace";
}

/** A figure's layout, complete enough to be drawn without measuring in a browser. */
export interface Layout {
  readonly title: { readonly text: string; readonly x: number; readonly xanchor: "left" };
  readonly width: number;
  readonly height: number;
  readonly margin: {
    readonly l: number;
    readonly r: number;
    readonly t: number;
    readonly b: number;
  };
  readonly xaxis: Axis;
  readonly yaxis: Axis;
  readonly font: { readonly family: string; readonly size: number; readonly color: string };
  readonly paper_bgcolor: string;
  readonly plot_bgcolor: string;
  readonly colorway: readonly string[];
  readonly barmode?: "group" | "overlay";
  readonly bargap?: number;
  readonly showlegend: boolean;
  readonly legend: {
    readonly orientation: "h";
    readonly x: number;
    readonly y: number;
    readonly xanchor: "left";
    readonly yanchor: "bottom";
    readonly traceorder: "normal";
  };
}

/** A whole figure, valid for plotly.js 3 and 4. */
export interface Figure {
  readonly data: readonly Trace[];
  readonly layout: Layout;
}

/** Colours that colour-blind readers tell apart (Okabe and Ito, 2008), readable on white. */
export const PALETTE = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#e69f00",
  "#56b4e9",
  "#666666",
] as const;

/** The palette's colour for the nth series. */
export function seriesColor(at: number): string {
  return PALETTE[at % PALETTE.length] ?? PALETTE[0];
}
