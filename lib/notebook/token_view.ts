/**
 * Pictures of tokens: a text cut into tokens, batches laid out in rows, and who may look at whom.
 *
 * @module
 */
import { escapeHtml, FONT_STACK } from "./display.ts";
import { textWidth } from "./text_width.ts";

/** What a token is there for. */
export type TokenKind = "prompt" | "question" | "answer" | "padding";

/** Okabe and Ito's colours, pale enough for black text. */
const COLORS: Readonly<Record<TokenKind, string>> = {
  prompt: "#c9c9c9",
  question: "#8fc7ea",
  answer: "#f2b98c",
  padding: "#f3f3f3",
};

/** A piece of text with its kind. */
export interface TokenPiece {
  readonly text: string;
  readonly kind: TokenKind;
}

/** A text cut into tokens, one box each; line breaks are shown as ⏎. */
export function tokenBoxes(pieces: readonly TokenPiece[]): string {
  const boxes = pieces.map(({ text, kind }) => {
    const shown = escapeHtml(text).replaceAll("\n", "⏎").replaceAll(" ", "\u00a0");
    return `<span style="background:${COLORS[kind]};color:#222;border-radius:3px;padding:1px 3px;` +
      `margin:1px;display:inline-block">${shown}</span>`;
  });
  return `<div style="font-family:${FONT_STACK};line-height:1.9">${boxes.join("")}</div>`;
}

/** A run of tokens of one kind. */
export interface TokenRun {
  readonly kind: TokenKind;
  readonly tokens: number;
}

/** One way of laying out a batch: rows of runs under a heading. */
export interface TokenLayout {
  readonly title: string;
  readonly rows: readonly (readonly TokenRun[])[];
}

/**
 * Cuts a stream of runs into rows of equal length.
 *
 * @example
 * ```ts
 * import { wrapRuns } from "@lib/notebook/token_view.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(wrapRuns([{ kind: "answer", tokens: 5 }], 3), [
 *   [{ kind: "answer", tokens: 3 }],
 *   [{ kind: "answer", tokens: 2 }],
 * ]);
 * ```
 */
export function wrapRuns(runs: readonly TokenRun[], width: number): TokenRun[][] {
  const rows: TokenRun[][] = [[]];
  let room = width;
  for (const { kind, tokens } of runs) {
    for (let left = tokens; left > 0;) {
      if (room === 0) [rows[rows.length], room] = [[], width];
      const taken = Math.min(left, room);
      rows.at(-1)?.push({ kind, tokens: taken });
      left -= taken;
      room -= taken;
    }
  }
  return rows;
}

const WIDTH = 720;
const ROW = 14;
const HEADING = 30;
const LEGEND = 30;

function legend(kinds: readonly TokenKind[]): string {
  let x = 0;
  return kinds.map((kind) => {
    const at = x;
    x += 34 + textWidth(kind, 13);
    return `<rect x="${at}" y="4" width="14" height="14" fill="${COLORS[kind]}" stroke="#888" ` +
      `stroke-width=".5"/><text x="${at + 19}" y="16">${kind}</text>`;
  }).join("");
}

/**
 * Batches as stacked rows, all to one scale, so that area is work.
 *
 * @param layouts one above the other
 */
export function layoutSvg(layouts: readonly TokenLayout[]): string {
  const longest = Math.max(
    1,
    ...layouts.flatMap(({ rows }) => rows.map((row) => row.reduce((n, run) => n + run.tokens, 0))),
  );
  const scale = WIDTH / longest;
  const used = new Set(layouts.flatMap(({ rows }) => rows.flat().map(({ kind }) => kind)));
  const kinds = (Object.keys(COLORS) as TokenKind[]).filter((kind) => used.has(kind));
  let y = LEGEND;
  const drawn = layouts.map(({ title, rows }) => {
    y += HEADING;
    const heading = `<text x="0" y="${y - 8}" font-weight="bold">${escapeHtml(title)}</text>`;
    const bars = rows.map((row) => {
      let x = 0;
      const runs = row.map(({ kind, tokens }) => {
        const left = x;
        x += tokens * scale;
        return `<rect x="${left.toFixed(2)}" y="${y}" width="${(tokens * scale).toFixed(2)}" ` +
          `height="${ROW - 3}" fill="${COLORS[kind]}" stroke="#fff" stroke-width=".6"/>`;
      });
      y += ROW;
      return runs.join("");
    });
    return heading + bars.join("");
  });
  const height = y + 6;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 -4 ${WIDTH + 12} ${height + 4}" ` +
    `width="${WIDTH + 12}" height="${height + 4}" font-family="${FONT_STACK}" font-size="13" ` +
    `fill="#222"><rect x="-6" y="-4" width="100%" height="100%" fill="#fff"/>` +
    `${legend(kinds)}${drawn.join("")}</svg>`;
}

/** One token of an attention picture. */
export interface AttentionToken {
  readonly label: string;
  readonly kind: TokenKind;
}

const CELL = 24;
const MARGIN = 46;

/**
 * Who may look at whom: a filled square where the row's token attends to the column's.
 *
 * @param sees whether the token in a row attends to the one in a column
 */
export function attentionSvg(
  tokens: readonly AttentionToken[],
  sees: (row: number, column: number) => boolean,
): string {
  const size = MARGIN + tokens.length * CELL;
  const labels = tokens.map(({ label }, at) => {
    const middle = MARGIN + (at + 0.5) * CELL;
    const text = escapeHtml(label);
    return `<text x="${MARGIN - 6}" y="${middle}" dy=".35em" text-anchor="end">${text}</text>` +
      `<text x="${middle}" y="${MARGIN - 8}" text-anchor="middle">${text}</text>`;
  });
  const cells = tokens.flatMap(({ kind }, row) =>
    tokens.map((_, column) =>
      `<rect x="${MARGIN + column * CELL}" y="${MARGIN + row * CELL}" width="${CELL - 2}" ` +
      `height="${CELL - 2}" fill="${sees(row, column) ? COLORS[kind] : "#fff"}" ` +
      `stroke="#ddd" stroke-width=".7"/>`
    )
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size + 4} ${size + 4}" ` +
    `width="${size + 4}" height="${size + 4}" font-family="${FONT_STACK}" font-size="11" ` +
    `fill="#222"><rect width="100%" height="100%" fill="#fff"/>${labels.join("")}${
      cells.join("")
    }</svg>`;
}
