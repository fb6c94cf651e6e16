/**
 * Folding: spellings that readers take for one word become one string. For matching only.
 *
 * @module
 */
import { metricText } from "./metric_text.ts";

const FOLDED_LETTERS: Readonly<Record<string, string>> = {
  "ী": "ি",
  "ঈ": "ই",
  "ূ": "ু",
  "ঊ": "উ",
  "ণ": "ন",
  "ঁ": "",
};

/** Long and short i and u, ণ and ন count as one; no chandrabindu; no final ো (ভালো, ভাল). */
export function foldLetters(text: string): string {
  return text.replace(/[ীঈূঊণঁ]/gu, (letter) => FOLDED_LETTERS[letter] ?? letter)
    .replace(/ো(?![\p{L}\p{M}])/gu, "");
}

/**
 * A folding with a lexicon's spelling variants, each applied at the beginning of a word.
 *
 * @example
 * ```ts
 * import { makeFold } from "@lib/evaluation/fold.ts";
 * import { assertEquals } from "@std/assert";
 * const fold = makeFold([["সাথে", "সঙ্গে"]]);
 * assertEquals(fold("আপনার সাথে ভালো"), fold("আপনার সঙ্গে ভাল"));
 * ```
 */
export function makeFold(
  variants: readonly (readonly [string, string])[],
): (text: string) => string {
  const table = new Map(
    variants.map(([from, to]) => [foldLetters(from.normalize("NFC")), foldLetters(to)]),
  );
  const any = new RegExp(
    `(?<![\\p{L}\\p{M}])(?:${[...table.keys()].join("|") || "(?!)"})`,
    "gu",
  );
  return (text) => {
    const folded = foldLetters(text.normalize("NFC"));
    return folded.replace(any, (found) => table.get(found) ?? found);
  };
}

/**
 * A stretch of text as the key that cues are sought in: folded words, each followed by one space;
 * commas, dashes, colons and brackets stand as the word `,`; other punctuation is dropped.
 */
export function cueKey(text: string, fold: (text: string) => string): string {
  const spaced = metricText(text).toLowerCase()
    .replace(/[,;:—–()\[\]]|(?<=\s)-(?=\s)/gu, " , ")
    .replace(/[[\p{P}\p{S}]--[,]]+/gv, " ");
  const key = fold(spaced).replace(/\s+/gu, " ").trim();
  return key === "" ? "" : `${key} `;
}
