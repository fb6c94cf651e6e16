/** What a reader takes for one letter: where a cursor may stand, and how wide it is in a terminal. */

const segmenter = new Intl.Segmenter("bn", { granularity: "grapheme" });
const wordSegmenter = new Intl.Segmenter("bn", { granularity: "word" });

/** Offsets (UTF-16) between the graphemes of a text, 0 and its end included. */
export function boundaries(text: string): number[] {
  return [...Array.from(segmenter.segment(text), ({ index }) => index), text.length];
}

/** The next boundary before an offset, or 0. */
export function previousBoundary(text: string, offset: number): number {
  return boundaries(text).findLast((at) => at < offset) ?? 0;
}

/** The next boundary behind an offset, or the end. */
export function nextBoundary(text: string, offset: number): number {
  return boundaries(text).find((at) => at > offset) ?? text.length;
}

/** Where the word before an offset begins. */
export function previousWord(text: string, offset: number): number {
  const starts = Array.from(wordSegmenter.segment(text)).filter((word) => word.isWordLike === true);
  return starts.findLast(({ index }) => index < offset)?.index ?? 0;
}

/** Where the word at or behind an offset ends. */
export function nextWord(text: string, offset: number): number {
  const words = Array.from(wordSegmenter.segment(text)).filter((word) => word.isWordLike === true);
  const ends = words.map(({ index, segment }) => index + segment.length);
  return ends.find((end) => end > offset) ?? text.length;
}

/** Two cells wide in every terminal: East Asian wide and full-width characters, emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const NO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]$/u;

/**
 * Terminal cells of a text, rather too many than too few: terminals differ in how many a vowel sign
 * beside its letter takes (one or none), and none takes more.
 *
 * @example
 * ```ts
 * import { cellWidth } from "@lib/chat/terminal/graphemes.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals([cellWidth("ab"), cellWidth("কি"), cellWidth("漢")], [2, 2, 2]);
 * ```
 */
export function cellWidth(text: string): number {
  let cells = 0;
  for (const character of text) {
    if (NO_WIDTH.test(character)) continue;
    cells += WIDE.test(character) ? 2 : 1;
  }
  return cells;
}

/**
 * Breaks one line into rows of at most `columns` cells, between graphemes.
 *
 * @returns at least one row; the rows joined are the line
 */
export function wrapRow(line: string, columns: number): string[] {
  const rows: string[] = [];
  let row = "";
  let used = 0;
  for (const { segment } of segmenter.segment(line)) {
    const width = cellWidth(segment);
    if (used > 0 && used + width > columns) {
      rows.push(row);
      row = "";
      used = 0;
    }
    row += segment;
    used += width;
  }
  return [...rows, row];
}
