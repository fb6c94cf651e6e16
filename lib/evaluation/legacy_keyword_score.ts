/**
 * The original project's empathy score, kept for comparison and labelled legacy.
 *
 * Four substring checks, one point each. The length check passes for nearly every answer, so the floor
 * is 25; a list of keywords scores 100; negation is not seen.
 *
 * @module
 */

/** The original's word lists: any one as a substring gives the point. */
const KEYWORDS = {
  empathy: ["বুঝি", "অনুভব", "কষ্ট", "দুঃখ", "সহানুভূতি", "চিন্তা"],
  acknowledgement: ["হ্যাঁ", "ঠিক", "সত্যি", "অবশ্যই"],
  support: ["সাহায্য", "পাশে", "সমর্থন", "পরামর্শ", "সহায়তা"],
} as const;

/** The four checks. */
export interface LegacyKeywordScore {
  readonly empathy: boolean;
  readonly acknowledgement: boolean;
  readonly support: boolean;
  /** 10 to 100 words between white space. */
  readonly length: boolean;
  /** 0..100, steps of 25. */
  readonly score: number;
}

/**
 * Scores an answer as the original did. Both sides are brought to NFC first, so that the spelling of
 * য় in সহায়তা does not decide.
 *
 * @example
 * ```ts
 * import { legacyKeywordScore } from "@lib/evaluation/legacy_keyword_score.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(legacyKeywordScore("কষ্ট সত্যি পাশে").score, 75);
 * ```
 */
export function legacyKeywordScore(answer: string): LegacyKeywordScore {
  const text = answer.normalize("NFC");
  const has = (list: readonly string[]): boolean =>
    list.some((word) => text.includes(word.normalize("NFC")));
  const count = text.split(/\s+/u).filter((word) => word !== "").length;
  const checks = {
    empathy: has(KEYWORDS.empathy),
    acknowledgement: has(KEYWORDS.acknowledgement),
    support: has(KEYWORDS.support),
    length: count >= 10 && count <= 100,
  };
  return { ...checks, score: 25 * Object.values(checks).filter(Boolean).length };
}
