/**
 * A matrix as a picture of one pixel a number: blue below zero, white at zero, red above.
 *
 * @module
 */
import { escapeHtml } from "./display.ts";

const FILE_HEADER = 14;
const INFO_HEADER = 40;
const COLOURS = 256;

/** Colour of a palette entry: 0 is the most negative, 255 the most positive. */
function colour(entry: number): readonly [red: number, green: number, blue: number] {
  const share = Math.max(-1, (entry - 128) / 127);
  const fade = (strong: number) => Math.round(255 + (strong - 255) * Math.abs(share));
  return share < 0 ? [fade(0), fade(84), fade(158)] : [fade(190), fade(50), fade(0)];
}

/**
 * A bitmap (BMP, 256 colours) of a matrix.
 *
 * @param values `rows × columns` numbers, row by row
 * @param limit magnitude that gets the full colour
 */
export function heatmapBmp(
  values: ArrayLike<number>,
  columns: number,
  limit: number,
): Uint8Array<ArrayBuffer> {
  const rows = values.length / columns;
  const stride = Math.ceil(columns / 4) * 4;
  const start = FILE_HEADER + INFO_HEADER + 4 * COLOURS;
  const bytes = new Uint8Array(start + stride * rows);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]); // "BM"
  const fields = [bytes.length, 0, start, INFO_HEADER, columns, rows];
  fields.forEach((value, at) => view.setUint32(2 + 4 * at, value, true));
  view.setUint16(26, 1, true); // planes
  view.setUint16(28, 8, true); // bits a pixel
  view.setUint32(46, COLOURS, true);
  for (let entry = 0; entry < COLOURS; entry++) {
    const [red, green, blue] = colour(entry);
    bytes.set([blue, green, red, 0], FILE_HEADER + INFO_HEADER + 4 * entry);
  }
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const share = (values[row * columns + column] ?? 0) / limit;
      const entry = Math.max(1, Math.min(255, Math.round(128 + 127 * share)));
      bytes[start + (rows - 1 - row) * stride + column] = entry; // the last row comes first
    }
  }
  return bytes;
}

/** Options of {@linkcode heatmap}. */
export interface HeatmapOptions {
  /** Magnitude that gets the full colour. */
  readonly limit: number;
  /** Words below the picture and for those who do not see it. */
  readonly caption: string;
  /** Side of a number's square on the screen, in pixels. @default {4} */
  readonly scale?: number;
}

/** A matrix as HTML: a picture with its caption. */
export function heatmap(
  values: ArrayLike<number>,
  columns: number,
  { limit, caption, scale = 4 }: HeatmapOptions,
): string {
  const source = heatmapBmp(values, columns, limit).toBase64();
  const words = escapeHtml(caption);
  return `<div style="display:inline-block;margin-right:16px"><img src="data:image/bmp;base64,` +
    `${source}" alt="${words}" width="${columns * scale}" ` +
    `style="image-rendering:pixelated;display:block"><span>${words}</span></div>`;
}
