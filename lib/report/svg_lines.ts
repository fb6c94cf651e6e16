/** Curves over steps as inline SVG that takes the page's colours. */
import { type Markup, markup } from "./markup.ts";
import { linearScale } from "./chart_scale.ts";
import { SERIES_COLORS } from "./page.ts";
import { formatValue } from "./text_table.ts";

/** One curve. */
export interface Curve {
  readonly name: string;
  readonly x: readonly number[];
  readonly y: readonly number[];
  /** Thin and pale: noisy values behind a curve that matters. @default {false} */
  readonly faint?: boolean;
  /** Colour, from 0. @default its place */
  readonly color?: number;
}

const WIDTH = 760;
const HEIGHT = 300;
const EDGE = { left: 62, right: 14, top: 12, bottom: 40 } as const;
/** Beyond this many points a curve is thinned: the eye sees no more, the file would. */
const MOST_POINTS = 600;

const px = (value: number): string => value.toFixed(1);

function points({ x, y }: Curve, at: (x: number, y: number) => readonly [number, number]): string {
  const every = Math.max(1, Math.ceil(x.length / MOST_POINTS));
  return x.flatMap((value, i) => {
    const other = y[i] ?? NaN;
    if (!Number.isFinite(other) || (i % every !== 0 && i !== x.length - 1)) return [];
    return [at(value, other).map(px).join(",")];
  }).join(" ");
}

/** The names of the curves with their colours. */
function key(curves: readonly Curve[]): Markup {
  return markup`
    ${
    curves.map(({ name, color, faint }, i) =>
      markup`
        <span class="key"><svg viewBox="0 0 20 10" aria-hidden="true">
            <path d="M0 5H20" class="curve s${(color ?? i) % SERIES_COLORS}${
        faint === true ? " faint" : ""
      }" />
          </svg>${name}</span>
      `
    )
  }
  `;
}

/** Words of a chart. */
export interface ChartOptions {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
}

/**
 * A figure of curves with a key and a caption.
 *
 * @example
 * ```ts
 * import { lineFigure } from "@lib/report/svg_lines.ts";
 * import { assertStringIncludes } from "@std/assert";
 * const options = { title: "Loss", xLabel: "step", yLabel: "nats" };
 * const figure = String(lineFigure([{ name: "train", x: [1, 2, 3], y: [3, 2, 1] }], options));
 * assertStringIncludes(figure, "<polyline");
 * ```
 */
export function lineFigure(curves: readonly Curve[], options: ChartOptions): Markup {
  const across = linearScale(curves.flatMap(({ x }) => x), [EDGE.left, WIDTH - EDGE.right], 8);
  const up = linearScale(curves.flatMap(({ y }) => y), [HEIGHT - EDGE.bottom, EDGE.top]);
  const right = WIDTH - EDGE.right;
  const base = HEIGHT - EDGE.bottom;
  const at = (x: number, y: number) => [across.at(x), up.at(y)] as const;
  return markup`
    <figure>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${options.title}">
        ${
    up.ticks.map((tick) =>
      markup`
            <path class="grid" d="M${EDGE.left} ${px(up.at(tick))}H${right}" />
            <text class="axis" x="${EDGE.left - 8}" y="${
        px(
          up.at(tick) + 4,
        )
      }" text-anchor="end">${String(tick)}</text>
          `
    )
  }${
    across.ticks.map((tick) =>
      markup`
            <text class="axis" x="${px(across.at(tick))}" y="${
        base +
        18
      }" text-anchor="middle">${String(tick)}</text>
          `
    )
  }<text class="axis" x="${(EDGE.left + right) / 2}" y="${HEIGHT - 4}" text-anchor="middle">
          ${options.xLabel}
        </text>
        <text class="axis" transform="translate(13 ${
    (EDGE.top + base) /
    2
  }) rotate(-90)" text-anchor="middle">
          ${options.yLabel}
        </text>
        ${
    curves.map((curve, i) =>
      markup`
            <polyline class="curve s${(curve.color ?? i) % SERIES_COLORS}${
        curve.faint === true ? " faint" : ""
      }" points="${points(curve, at)}">
              <title>${curve.name}, last ${formatValue(curve.y.at(-1))}</title>
            </polyline>
          `
    )
  }
      </svg>
      <figcaption>${options.title}. ${key(curves)}</figcaption>
    </figure>
  `;
}
