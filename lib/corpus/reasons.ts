/**
 * Why a row is not in the cleaned corpus: one code a row, the first that applies in this order.
 *
 * @module
 */

/** Reason codes with their meaning, in the order in which they are tried. */
export const DROP_REASONS = {
  replacement_character: "a field contains U+FFFD: text was lost in an earlier conversion",
  missing_question: "the question is empty",
  missing_answer: "the answer is empty",
  one_word_question: "the question has a single word",
  one_word_answer: "the answer has a single word",
  not_bengali: "fewer than 70 % of the letters of question or answer are Bengali",
  question_equals_answer: "the answer repeats the question",
  repeated_token: "one word makes up more than half of a text of eight words or more",
  exact_duplicate: "question and answer equal an earlier row's, but for punctuation and case",
  near_duplicate: "question and answer share 90 % of their letter 5-grams with an earlier row's",
  quarantine_self_harm: "speaks of self-harm: set apart for review",
  quarantine_advice: "gives medication or legal advice: set apart for review",
} as const;

/** A reason code. */
export type DropReason = keyof typeof DROP_REASONS;

/** All reason codes in order. */
export const DROP_REASON_CODES = Object.keys(DROP_REASONS) as readonly DropReason[];

/** Whether a reason sets a row apart for review rather than discarding it. */
export function isQuarantine(reason: DropReason): boolean {
  return reason === "quarantine_self_harm" || reason === "quarantine_advice";
}
