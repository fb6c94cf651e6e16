/**
 * The layout that all plots share: margins wide enough for their labels, one look.
 *
 * @module
 */
import { FONT_STACK } from "./display.ts";
import { type Axis, type Layout, PALETTE } from "./figure.ts";
import { textWidth } from "./text_width.ts";

/** Options that every plot function takes. */
export interface PlotOptions {
  readonly title?: string;
  readonly xLabel?: string;
  readonly yLabel?: string;
  /** Pixels. @default {720} */
  readonly width?: number;
  /** Pixels. @default {400}, more where many lying bars need it */
  readonly height?: number;
  /** Logarithmic y axis. @default {false} */
  readonly logY?: boolean;
}

const FONT_SIZE = 13;
const TITLE_SIZE = 17;
const GRID = "#e5e5e5";
const AXIS_LINE = "#888888";
/** Labels of categories beyond this many pixels a piece are turned. */
const TURN = -40;

function axis(title: string, more: Partial<Axis> = {}): Axis {
  return {
    title: { text: title, standoff: 12 },
    automargin: true,
    gridcolor: GRID,
    linecolor: AXIS_LINE,
    zerolinecolor: AXIS_LINE,
    ...more,
  };
}

/** What the layout needs to know about the data. */
export interface LayoutNeeds {
  /** Category labels under the x axis. */
  readonly xCategories?: readonly string[];
  /** Category labels left of the y axis. */
  readonly yCategories?: readonly string[];
  /** Names in the legend; none is shown for fewer than two. */
  readonly legend?: readonly string[];
  readonly x?: Partial<Axis>;
  readonly y?: Partial<Axis>;
  readonly barmode?: "group" | "overlay";
  readonly bargap?: number;
}

const widest = (labels: readonly string[]) =>
  Math.max(0, ...labels.map((label) => textWidth(label, FONT_SIZE)));

/** Room that turned or straight category labels need below the axis. */
function bottomLabels(labels: readonly string[], room: number): { height: number; angle: number } {
  const longest = widest(labels);
  if (labels.length === 0 || longest + 8 <= room / labels.length) return { height: 20, angle: 0 };
  const radians = Math.abs(TURN) * Math.PI / 180;
  return { height: longest * Math.sin(radians) + 22, angle: TURN };
}

/** Rows that a legend above the plot takes. */
function legendRows(names: readonly string[], room: number): number {
  if (names.length < 2) return 0;
  const wide = names.reduce((sum, name) => sum + textWidth(name, FONT_SIZE) + 55, 0);
  return Math.ceil(wide / room);
}

/** Makes a layout whose labels are not cut, in a browser or without one. */
export function makeLayout(options: PlotOptions, needs: LayoutNeeds = {}): Layout {
  const { title = "", xLabel = "", yLabel = "", width = 720, height = 400, logY = false } = options;
  const { xCategories = [], yCategories = [], legend = [] } = needs;
  const left = Math.min(width * 0.45, Math.max(48, widest(yCategories) + 14)) + (yLabel ? 26 : 0);
  const right = 28;
  const room = width - left - right;
  const bottom = bottomLabels(xCategories, room);
  const rows = legendRows(legend, room);
  const upright = xCategories.length > 0;
  return {
    title: { text: title, x: 0.02, xanchor: "left" },
    width,
    height,
    margin: {
      l: Math.round(left),
      r: right,
      t: (title ? 2.6 * TITLE_SIZE : 16) + rows * 24 + 4,
      b: Math.round(bottom.height + (xLabel ? 34 : 12)),
    },
    xaxis: axis(xLabel, {
      ...(upright ? { type: "category", tickangle: bottom.angle } : {}),
      ...needs.x,
    }),
    yaxis: axis(yLabel, { ...(logY ? { type: "log" } : {}), ...needs.y }),
    font: { family: FONT_STACK, size: FONT_SIZE, color: "#222222" },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    colorway: PALETTE,
    ...(needs.barmode ? { barmode: needs.barmode } : {}),
    ...(needs.bargap === undefined ? {} : { bargap: needs.bargap }),
    showlegend: legend.length > 1,
    legend: {
      orientation: "h",
      x: 0,
      y: 1.01,
      xanchor: "left",
      yanchor: "bottom",
      traceorder: "normal",
    },
  };
}
