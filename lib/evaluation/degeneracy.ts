/**
 * Signs that a model has come apart: unfinished, broken, repeating or foreign text.
 *
 * @module
 */
import { bengaliLetterShare } from "@lib/corpus/text_key.ts";
import { rougeTokens } from "./rouge.ts";
import { meanTable, type MetricTable } from "./statistics.ts";

/** How a generation ended; `length` is the cap. */
export type FinishReason = "none" | "stop" | "length" | "removed";

/** Share of Bengali letters from which an answer counts as Bengali. */
export const BENGALI_SHARE = 0.9;

/** Signs of one answer. */
export interface AnswerSigns {
  /** Ends in । ॥ ? ! or . with nothing but closing quotes and brackets after it. */
  readonly terminal: boolean;
  /** Hit the cap; null when how it ended is unknown. */
  readonly capped: boolean | null;
  /** Holds U+FFFD: bytes that are no UTF-8. */
  readonly replacement: boolean;
  /** Some run of four words occurs twice. */
  readonly repeatedFourGram: boolean;
  /** Fewer than nine in ten of its letters are Bengali, or it has none. */
  readonly nonBengali: boolean;
  /** Nothing but white space. */
  readonly empty: boolean;
}

/** Whether a text ends as a sentence does. */
export function endsInTerminal(text: string): boolean {
  return /[।॥?!.…]["'”’»)\]\s]*$/u.test(text);
}

/**
 * Looks at one answer.
 *
 * @example
 * ```ts
 * import { answerSigns } from "@lib/evaluation/degeneracy.ts";
 * import { assertEquals } from "@std/assert";
 * const signs = answerSigns("আমি আপনার পাশে আছি আমি আপনার পাশে আছি", "length");
 * assertEquals([signs.terminal, signs.capped, signs.repeatedFourGram], [false, true, true]);
 * ```
 */
export function answerSigns(text: string, finish: FinishReason | null = null): AnswerSigns {
  const tokens = rougeTokens(text);
  const grams = ngrams(tokens, 4);
  return {
    terminal: endsInTerminal(text),
    capped: finish === null ? null : finish === "length",
    replacement: text.includes("\uFFFD"),
    repeatedFourGram: new Set(grams).size < grams.length,
    nonBengali: bengaliLetterShare(text) < BENGALI_SHARE,
    empty: text.trim() === "",
  };
}

function ngrams(tokens: readonly string[], order: number): string[] {
  const count = Math.max(0, tokens.length - order + 1);
  return Array.from({ length: count }, (_, i) => tokens.slice(i, i + order).join(" "));
}

/** The names of the shares. */
export const DEGENERACY_SIGNS = [
  "terminal",
  "capped",
  "replacement",
  "repeatedFourGram",
  "nonBengali",
  "empty",
] as const satisfies readonly (keyof AnswerSigns)[];
export type DegeneracySign = (typeof DEGENERACY_SIGNS)[number];

/** The share of answers (0..1) with each sign. */
export function degeneracyTables(
  signs: readonly AnswerSigns[],
): Readonly<Record<DegeneracySign, MetricTable>> {
  const share = (sign: DegeneracySign): MetricTable =>
    meanTable(signs.map((one) => one[sign] === null ? null : Number(one[sign])));
  return {
    terminal: share("terminal"),
    capped: share("capped"),
    replacement: share("replacement"),
    repeatedFourGram: share("repeatedFourGram"),
    nonBengali: share("nonBengali"),
    empty: share("empty"),
  };
}

/**
 * distinct-n (Li et al. 2016): different n-grams / all n-grams over all answers, 0..1; null without
 * any. It falls as a corpus grows, so compare only sets of one size; and drawing items twice lowers
 * it by itself, so it has no bootstrap interval.
 */
export function distinctN(texts: readonly string[], order: number): number | null {
  const seen = new Set<string>();
  let total = 0;
  for (const text of texts) {
    const grams = ngrams(rougeTokens(text), order);
    total += grams.length;
    for (const gram of grams) seen.add(gram);
  }
  return total === 0 ? null : seen.size / total;
}
