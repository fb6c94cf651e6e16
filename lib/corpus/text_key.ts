/**
 * Words, letters and matching keys of Bengali text.
 *
 * JavaScript's `\w` and `\b` know ASCII only; vowel signs are marks (`\p{M}`), so words are runs of
 * letters, marks, digits and the two joiners.
 *
 * @module
 */

const WORD = /[\p{L}\p{M}\p{N}\u200c\u200d]+/gu;
const LETTER = /\p{L}/gu;
const BENGALI_LETTER = /[\p{L}&&\p{Script=Bengali}]/gv;

/**
 * The words of a text, in order.
 *
 * @example
 * ```ts
 * import { words } from "@lib/corpus/text_key.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(words("মন ভালো নেই।"), ["মন", "ভালো", "নেই"]);
 * ```
 */
export function words(text: string): string[] {
  return text.match(WORD) ?? [];
}

/**
 * The key by which texts count as the same: NFC, format characters (Cf: ZWJ, ZWNJ, soft hyphen …)
 * removed, punctuation and symbols made spaces, spaces collapsed, lower case. For comparing only,
 * never for display or training.
 *
 * @example
 * ```ts
 * import { matchKey } from "@lib/corpus/text_key.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(matchKey("মন  ভালো নেই।"), matchKey("মন ভালো, নেই!"));
 * ```
 */
export function matchKey(text: string): string {
  return text.normalize("NFC").replace(/\p{Cf}/gu, "").replace(/[\p{P}\p{S}\s]+/gu, " ").trim()
    .toLowerCase();
}

/**
 * Share of Bengali letters among all letters (marks and digits not counted), 0..1; 0 without any
 * letter.
 */
export function bengaliLetterShare(text: string): number {
  const letters = text.match(LETTER)?.length ?? 0;
  return letters === 0 ? 0 : (text.match(BENGALI_LETTER)?.length ?? 0) / letters;
}

/** Number of Unicode code points (what Python's `len` counts). */
export function codePointLength(text: string): number {
  let length = 0;
  for (const _ of text) length++;
  return length;
}
