/**
 * The row filters of strict cleaning that look at one row alone.
 *
 * @module
 */
import type { DropReason } from "./reasons.ts";
import { bengaliLetterShare, matchKey, words } from "./text_key.ts";

/** The texts a filter looks at, already normalised. */
export interface FilteredTexts {
  readonly topic: string;
  readonly title: string;
  readonly question: string;
  readonly answer: string;
}

/** Options of {@linkcode rowDropReason}. */
export interface FilterOptions {
  /**
   * Least share of Bengali letters among the letters of question and of answer.
   * @default 0.7
   */
  readonly minBengaliShare?: number;
}

/**
 * Whether one word makes up more than half of a text of at least eight words.
 *
 * @example
 * ```ts
 * import { isRepetitive } from "@lib/corpus/filters.ts";
 * import { assert } from "@std/assert";
 * assert(isRepetitive("খুব খুব খুব খুব খুব খুব মন খারাপ"));
 * ```
 */
export function isRepetitive(text: string): boolean {
  const tokens = words(text.toLowerCase());
  if (tokens.length < 8) return false;
  const counts = new Map<string, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return Math.max(...counts.values()) > tokens.length / 2;
}

/** The first reason of one row alone for dropping it, or `undefined`. */
export function rowDropReason(
  texts: FilteredTexts,
  options: FilterOptions = {},
): DropReason | undefined {
  const { minBengaliShare = 0.7 } = options;
  const { topic, title, question, answer } = texts;
  if ([topic, title, question, answer].some((text) => text.includes("\ufffd"))) {
    return "replacement_character";
  }
  const questionWords = words(question).length;
  const answerWords = words(answer).length;
  if (questionWords === 0) return "missing_question";
  if (answerWords === 0) return "missing_answer";
  if (questionWords === 1) return "one_word_question";
  if (answerWords === 1) return "one_word_answer";
  if (Math.min(bengaliLetterShare(question), bengaliLetterShare(answer)) < minBengaliShare) {
    return "not_bengali";
  }
  if (matchKey(question) === matchKey(answer)) return "question_equals_answer";
  if (isRepetitive(question) || isRepetitive(answer)) return "repeated_token";
  return undefined;
}
