/**
 * Errors of a row of weights, one bar each, block by block: which block pays for its loudest weight?
 *
 * @module
 */
import { seriesColor } from "./figure.ts";
import { FONT_STACK, svgImage } from "./display.ts";

/** Options of {@linkcode errorStrip}. */
export interface ErrorStripOptions {
  /** Weights that share one scale. */
  readonly blockLength: number;
  /** Error that fills the height; the same for pictures to be compared. */
  readonly limit: number;
  /** What the picture shows, for readers who do not see it. */
  readonly alt: string;
}

const [WIDTH, HEIGHT, TOP, LEFT] = [768, 150, 18, 0];

/** The picture as an HTML image. */
export function errorStrip(
  errors: readonly number[],
  { blockLength, limit, alt }: ErrorStripOptions,
): string {
  const step = WIDTH / errors.length;
  const middle = TOP + HEIGHT / 2;
  const toY = (error: number) => middle - Math.max(-1, Math.min(1, error / limit)) * HEIGHT / 2;
  const bars = errors.map((error, at) => {
    const color = seriesColor(Math.floor(at / blockLength) % 2);
    const x = (LEFT + (at + 0.5) * step).toFixed(1);
    return `<path d="M${x} ${middle}V${toY(error).toFixed(1)}" stroke="${color}"/>`;
  });
  const picture =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${TOP + HEIGHT}" ` +
    `width="${WIDTH}" height="${TOP + HEIGHT}" font-family="${FONT_STACK}" font-size="12">` +
    `<rect width="100%" height="100%" fill="#fff"/>` +
    `<g stroke-width="${Math.max(1, 0.7 * step).toFixed(2)}">${bars.join("")}</g>` +
    `<path d="M0 ${middle}H${WIDTH}" stroke="#888"/>` +
    `<text x="4" y="13" fill="#222">read back − weight; the strip is ±${
      limit.toPrecision(2)
    } high; colours alternate by block</text></svg>`;
  return svgImage(picture, alt);
}
