/** Values with their intervals beside a zero line, as inline SVG that takes the page's colours. */
import { linearScale } from "./chart_scale.ts";
import { type Markup, markup } from "./markup.ts";
import { type Ends, formatInterval } from "./text_table.ts";

/** One row: a name and its interval. */
export interface IntervalRow extends Ends {
  readonly name: string;
}

const WIDTH = 760;
const ROW = 24;
const EDGE = { left: 190, right: 20, top: 8, bottom: 38 } as const;

const px = (value: number): string => value.toFixed(1);

/** A dot for each value, a whisker for its interval; rows without a value are left out. */
export function intervalFigure(
  rows: readonly IntervalRow[],
  { title, xLabel }: { readonly title: string; readonly xLabel: string },
): Markup | null {
  const known = rows.filter(({ value }) => value !== null);
  if (known.length === 0) return null;
  const ends = known.flatMap(({ value, low, high }) => [value ?? 0, low ?? 0, high ?? 0]);
  const scale = linearScale([0, ...ends], [EDGE.left, WIDTH - EDGE.right], 8);
  const base = EDGE.top + ROW * known.length;
  const height = base + EDGE.bottom;
  return markup`
    <figure>
      <svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${title}">
        ${
    scale.ticks.map((tick) =>
      markup`
            <path class="${tick === 0 ? "zero" : "grid"}" d="M${
        px(scale.at(tick))
      } ${EDGE.top}V${base}" />
            <text class="axis" x="${px(scale.at(tick))}" y="${
        base +
        16
      }" text-anchor="middle">${String(tick)}</text>
          `
    )
  }${
    known.map((row, i) => {
      const y = EDGE.top + ROW * (i + 0.5);
      const [low, high] = [
        scale.at(row.low ?? row.value ?? 0),
        scale.at(row.high ?? row.value ?? 0),
      ];
      return markup`
            <g>
              <title>${row.name}: ${formatInterval(row)}</title>
              <text x="${EDGE.left - 10}" y="${px(y + 4)}" text-anchor="end">${row.name}</text>
              <path
                class="curve s0"
                d="M${px(low)} ${px(y)}H${px(high)}M${px(low)} ${px(y - 4)}V${px(y + 4)}M${
        px(
          high,
        )
      } ${px(y - 4)}V${px(y + 4)}"
              />
              <circle class="f0" cx="${px(scale.at(row.value ?? 0))}" cy="${px(y)}" r="4" />
            </g>
          `;
    })
  }<text class="axis" x="${(EDGE.left + WIDTH - EDGE.right) / 2}" y="${
    height -
    4
  }" text-anchor="middle">
          ${xLabel}
        </text>
      </svg>
      <figcaption>${title}</figcaption>
    </figure>
  `;
}
