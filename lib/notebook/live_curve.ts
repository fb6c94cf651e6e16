/**
 * A curve that grows in its cell while work runs, and a Plotly figure at the end.
 *
 * JupyterLab cannot update a Plotly output in place, so the living curve is a small SVG of our own,
 * redrawn under one display at most four times a second.
 *
 * @module
 */
import { display, displayId, escapeHtml, FONT_STACK } from "./display.ts";
import { type Figure, seriesColor } from "./figure.ts";
import { inKernel } from "./host.ts";
import type { PlotOptions } from "./plot_layout.ts";
import { line } from "./plot_lines.ts";
import { show } from "./show.ts";

/** Points of one curve. */
interface Curve {
  readonly x: number[];
  readonly y: number[];
}

/** Least milliseconds between two drawings. */
const INTERVAL_MS = 250;
const WIDTH = 720;
const HEIGHT = 300;
const MARGIN = { left: 64, right: 16, top: 40, bottom: 40 } as const;
/** More points than pixels are thinned before drawing. */
const MAX_POINTS = 600;

/** Ticks at 1, 2 or 5 times a power of ten. */
export function niceTicks(low: number, high: number, about = 6): readonly number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from(
    { length: last - first + 1 },
    (_, at) => Number(((first + at) * step).toPrecision(12)),
  );
}

function extent(lists: readonly (readonly number[])[]): readonly [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

/** Indices of at most `limit` of `count` points, the first and the last among them. */
function thin(count: number, limit: number): readonly number[] {
  const kept = Math.min(count, limit);
  if (kept < 2) return Array.from({ length: kept }, (_, at) => at);
  return Array.from({ length: kept }, (_, at) => Math.round(at * (count - 1) / (kept - 1)));
}

type Scale = (value: number) => number;

function drawAxes(
  xs: readonly [number, number],
  ys: readonly [number, number],
  toX: Scale,
  toY: Scale,
): string {
  const right = WIDTH - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const horizontal = niceTicks(...ys).map((tick) => {
    const y = toY(tick).toFixed(1);
    return `<line x1="${MARGIN.left}" x2="${right}" y1="${y}" y2="${y}" stroke="#e5e5e5"/>` +
      `<text x="${MARGIN.left - 8}" y="${y}" dy=".35em" text-anchor="end">${tick}</text>`;
  });
  const vertical = niceTicks(...xs, 8).map((tick) =>
    `<text x="${toX(tick).toFixed(1)}" y="${bottom + 18}" text-anchor="middle">${tick}</text>`
  );
  return horizontal.join("") + vertical.join("") +
    `<line x1="${MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}" stroke="#888"/>`;
}

function drawCurve({ x, y }: Curve, color: string, toX: Scale, toY: Scale): string {
  const points = thin(x.length, MAX_POINTS).flatMap((at) => {
    const [px = NaN, py = NaN] = [x[at], y[at]];
    return Number.isFinite(px) && Number.isFinite(py)
      ? [`${toX(px).toFixed(1)},${toY(py).toFixed(1)}`]
      : [];
  });
  const last = points.at(-1)?.split(",");
  const dot = last ? `<circle cx="${last[0]}" cy="${last[1]}" r="3.5" fill="${color}"/>` : "";
  return `<polyline fill="none" stroke="${color}" stroke-width="2" points="${
    points.join(" ")
  }"/>${dot}`;
}

function formatPoint(value: number | undefined): string {
  return value === undefined ? "–" : Number(value.toPrecision(4)).toString();
}

/** Options of {@linkcode LiveCurve}: those of a plot. */
export interface LiveCurveOptions extends PlotOptions {
  /** Milliseconds on a clock that never goes back. @default {performance.now} */
  readonly now?: () => number;
}

/**
 * Curves that are drawn while they grow. `add` is cheap: call it at every step.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { LiveCurve } from "@lib/notebook/live_curve.ts";
 *
 * await using curve = new LiveCurve({ title: "Loss", xLabel: "step" });
 * for (let step = 1; step <= 3; step++) curve.add("train", step, 3 / step);
 * assertEquals(curve.figure().data[0]?.name, "train");
 * ```
 */
export class LiveCurve {
  readonly #options: PlotOptions;
  readonly #now: () => number;
  readonly #curves = new Map<string, Curve>();
  readonly #id = displayId();
  #drawnAt = -Infinity;
  #drawing: Promise<void> = Promise.resolve();
  #finished = false;

  constructor({ now = () => performance.now(), ...options }: LiveCurveOptions = {}) {
    this.#options = options;
    this.#now = now;
  }

  /** Adds a point to the curve of that name. */
  add(name: string, x: number, y: number): void {
    const curve = this.#curves.get(name) ?? { x: [], y: [] };
    this.#curves.set(name, curve);
    curve.x.push(x);
    curve.y.push(y);
    if (this.#finished || !inKernel() || this.#now() - this.#drawnAt < INTERVAL_MS) return;
    this.#drawnAt = this.#now();
    const picture = this.svg();
    this.#drawing = this.#drawing.then(() => this.#show(picture));
  }

  /** The curves as they are now, as SVG. */
  svg(): string {
    const curves = [...this.#curves];
    const xs = extent(curves.map(([, { x }]) => x));
    const ys = extent(curves.map(([, { y }]) => y));
    const toX: Scale = (value) =>
      MARGIN.left + (value - xs[0]) / (xs[1] - xs[0]) * (WIDTH - MARGIN.left - MARGIN.right);
    const toY: Scale = (value) =>
      HEIGHT - MARGIN.bottom -
      (value - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const lines = curves.map(([, curve], at) => drawCurve(curve, seriesColor(at), toX, toY));
    const { xLabel = "" } = this.#options;
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" ` +
      `width="${WIDTH}" height="${HEIGHT}" font-family="${FONT_STACK}" font-size="12" fill="#222">` +
      `<rect width="100%" height="100%" fill="#fff"/>${this.#heading()}` +
      drawAxes(xs, ys, toX, toY) + lines.join("") +
      `<text x="${WIDTH - MARGIN.right}" y="${HEIGHT - 6}" text-anchor="end">${
        escapeHtml(xLabel)
      }</text></svg>`;
  }

  #heading(): string {
    const { title = "" } = this.#options;
    const names = [...this.#curves].map(([name, { y }], at) =>
      `<tspan dx="14" fill="${seriesColor(at)}" font-weight="bold">● ${
        escapeHtml(`${name} ${formatPoint(y.at(-1))}`)
      }</tspan>`
    );
    return `<text x="12" y="24"><tspan font-size="15">${escapeHtml(title)}</tspan>${
      names.join("")
    }</text>`;
  }

  #show(picture: string): Promise<void> {
    return display({ "text/html": picture }, { id: this.#id });
  }

  /** The curves as a Plotly figure, to show again or to save. */
  figure(): Figure {
    const series = [...this.#curves].map(([name, { x, y }]) => ({ name, x, y }));
    return line(series, this.#options);
  }

  /**
   * Ends the living curve: a line of text takes its place and the Plotly figure follows. A second
   * call does nothing.
   */
  async finish(): Promise<void> {
    if (this.#finished) return;
    this.#finished = true;
    await this.#drawing;
    if (!inKernel() || this.#curves.size === 0) return;
    if (this.#drawnAt > -Infinity) {
      const summary = [...this.#curves].map(([name, { y }]) =>
        `${name} ${formatPoint(y[0])} → ${formatPoint(y.at(-1))} (${y.length} points)`
      ).join(" · ");
      await display({
        "text/html": `<div style="font-family:${FONT_STACK}">${escapeHtml(summary)}</div>`,
        "text/plain": summary,
      }, { id: this.#id });
    }
    await show(this.figure());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.finish();
  }
}
