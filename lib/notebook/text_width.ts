/**
 * How wide a text will be, where there is no browser to measure it.
 *
 * @module
 */

const graphemes = new Intl.Segmenter("bn", { granularity: "grapheme" });

/** Widths in em, measured on Noto Sans and Noto Sans Bengali and rounded up. */
const LATIN_EM = 0.6;
const NARROW_EM = 0.34;
const BENGALI_EM = 0.72;
/** What each further consonant of a conjunct and each vowel sign beside it adds. */
const BENGALI_SIGN_EM = 0.28;

function graphemeEm(grapheme: string): number {
  if (/^[\u0980-\u09ff]/u.test(grapheme)) {
    return BENGALI_EM + BENGALI_SIGN_EM * ([...grapheme].length - 1);
  }
  if (/^[ .,:;'|!ijltfrI()[\]।]/u.test(grapheme)) return NARROW_EM;
  return /^[ -\u024f]/u.test(grapheme) ? LATIN_EM : 1;
}

/**
 * Width of one line of text in pixels, rather too wide than too narrow.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { textWidth } from "@lib/notebook/text_width.ts";
 *
 * assert(textWidth("কৃতজ্ঞতা", 12) > textWidth("রাগ", 12));
 * ```
 */
export function textWidth(text: string, fontSize: number): number {
  let em = 0;
  for (const { segment } of graphemes.segment(text)) em += graphemeEm(segment);
  return em * fontSize;
}
