/**
 * Sentences of a Bengali text, with their places in it.
 *
 * @module
 */
import { isAbbreviation } from "@lib/corpus/abbreviations.ts";

/** One sentence; `text.slice(start, end)` of the whole text is its own text. */
export interface Sentence {
  readonly text: string;
  readonly start: number;
  readonly end: number;
  /** Ends in a question mark. */
  readonly question: boolean;
}

/**
 * Splits at । ॥ ? ! … and line breaks, and at a full stop that ends a word which is no abbreviation.
 *
 * @example
 * ```ts
 * import { sentencesOf } from "@lib/evaluation/sentences.ts";
 * import { assertEquals } from "@std/assert";
 * const found = sentencesOf("ডা. রহমান এলেন। কেমন আছেন?");
 * assertEquals(found.map((s) => s.text), ["ডা. রহমান এলেন।", "কেমন আছেন?"]);
 * ```
 */
export function sentencesOf(text: string): Sentence[] {
  const sentences: Sentence[] = [];
  let start = 0;
  const close = (end: number): void => {
    const raw = text.slice(start, end);
    const trimmed = raw.trim();
    if (/[\p{L}\p{N}]/u.test(trimmed)) {
      const from = start + raw.indexOf(trimmed);
      const question = /\?["'”’!)\s।]*$/u.test(trimmed);
      sentences.push({ text: trimmed, start: from, end: from + trimmed.length, question });
    }
    start = end;
  };
  for (const found of text.matchAll(/[।॥?!…\n]+["'”’)]*|\.+(?=["'”’)]*(?:\s|$))/gu)) {
    const before = text.slice(start, found.index).match(/\S+$/u)?.[0] ?? "";
    if (found[0] === "." && isAbbreviation(before)) continue;
    close(found.index + found[0].length);
  }
  close(text.length);
  return sentences;
}
