/**
 * What notebook cells use, in one import.
 *
 * @module
 */
export { check, CheckError, type CheckOptions, checkThat } from "./check.ts";
export { display, type DisplayOptions, escapeHtml, html, json, markdown, svg } from "./display.ts";
export type { Figure } from "./figure.ts";
export { figureSvg } from "./figure_svg.ts";
export { inKernel } from "./host.ts";
export { InterruptedError, interruptible } from "./interrupt.ts";
export { LiveCurve, type LiveCurveOptions } from "./live_curve.ts";
export type { PlotOptions } from "./plot_layout.ts";
export { bar, type BarOptions, type BarSeries, groupedBar } from "./plot_bars.ts";
export { box, histogram, type HistogramOptions } from "./plot_distributions.ts";
export { line, scatter, type Series } from "./plot_lines.ts";
export { formatDuration, Progress, type ProgressOptions } from "./progress.ts";
export { NotebookSetup, setupNotebook, type SetupOptions } from "./setup.ts";
export { savePlot, type SavePlotOptions, show, type ShowOptions, showSvg } from "./show.ts";
export {
  type Example,
  type ExampleOptions,
  examples,
  formatNumber,
  table,
  type TableOptions,
  type TableValue,
} from "./table.ts";
