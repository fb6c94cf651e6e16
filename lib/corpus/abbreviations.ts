/**
 * Bengali abbreviations written with a full stop, so that "ডা. রহিম" is not cut into two sentences.
 *
 * @module
 */

/** Abbreviations, without their final full stop. */
export const ABBREVIATIONS: ReadonlySet<string> = new Set([
  "ড",
  "ডা",
  "মো",
  "মোঃ",
  "মোছা",
  "মোসা",
  "মু",
  "মি",
  "মিসেস",
  "প্রফেসর",
  "প্রফ",
  "অধ্যা",
  "অ্যাড",
  "ইঞ্জি",
  "লে",
  "ক্যাপ্টেন",
  "লি",
  "প্রা",
  "কো",
  "নং",
  "পৃ",
  "খ্রি",
  "হি",
  "ইং",
  "বাং",
  "রেজি",
  "সং",
  "দ্র",
  "উদা",
]);

/**
 * Whether a word (without its final full stop) is an abbreviation: a listed one or initials
 * such as "বি.এ", "কি.মি", "এম.বি.বি.এস" (groups of at most four code points).
 *
 * @example
 * ```ts
 * import { isAbbreviation } from "@lib/corpus/abbreviations.ts";
 * import { assert } from "@std/assert";
 * assert(isAbbreviation("ডা") && isAbbreviation("কি.মি") && !isAbbreviation("ভালো"));
 * ```
 */
export function isAbbreviation(word: string): boolean {
  const plain = word.normalize("NFC");
  if (ABBREVIATIONS.has(plain)) return true;
  return /^[\p{L}\p{M}]{1,4}(?:\.[\p{L}\p{M}]{1,4})+$/u.test(plain);
}
