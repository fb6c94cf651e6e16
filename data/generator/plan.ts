/**
 * How many rows of each kind a corpus of a given size has. Numbers follow from the row count alone,
 * so that every count in the manifest is known before anything is composed.
 *
 * @module
 */

/** Rows per 4,000 that cleaning drops, by planned defect. */
const DROPPED = {
  replacement_character: 12,
  missing_question: 6,
  one_word_question: 6,
  one_word_answer: 6,
  not_bengali: 16,
  question_equals_answer: 8,
  repeated_token: 8,
  exact_duplicate: 40,
  near_duplicate: 24,
} as const;

/** Rows per 4,000 that cleaning repairs, by planned defect. */
const REPAIRED = {
  decomposed_vowels: 60,
  precomposed_nukta: 60,
  split_aa: 16,
  nukta_ra: 16,
  old_khanda_ta: 12,
  stray_joiner: 40,
  soft_hyphen: 20,
  zero_width_space: 16,
  control_character: 16,
  line_break: 60,
  double_space: 40,
  space_before_danda: 80,
  ascii_full_stop: 480,
  currency_numerator: 20,
  quotes: 40,
  ellipsis: 16,
  phone: 12,
  email: 8,
  url: 8,
  mislabelled_topic: 40,
} as const;

/** A planned defect: one a row at most. */
export type Defect =
  | keyof typeof DROPPED
  | keyof typeof REPAIRED
  | "missing_answer"
  | "tiny_answer"
  | "quarantine_self_harm"
  | "quarantine_advice";

/** Rows whose answer has at most five code points: 128 of 38,233, as in the real corpus. */
export function shortAnswerCount(rows: number): number {
  return Math.round(rows * 128 / 38_233);
}

/** Row counts of a corpus. */
export interface Plan {
  readonly rows: number;
  readonly defects: Readonly<Record<Defect, number>>;
  /** Follow-up rows aimed at; fewer when the topics do not have as many different ones. */
  readonly followUps: number;
}

/**
 * Plan a corpus.
 *
 * @param texts How many self-harm and advice rows there are; each is used at most once.
 */
export function planCorpus(
  rows: number,
  texts: Readonly<Record<"selfHarm" | "advice", number>>,
): Plan {
  const scale = rows / 4_000;
  const scaled = <K extends string>(counts: Readonly<Record<K, number>>): Record<K, number> => {
    const entries = (Object.entries(counts) as [K, number][]).map(([name, count]) =>
      [name, Math.max(1, Math.round(count * scale))] as const
    );
    return Object.fromEntries(entries) as Record<K, number>;
  };
  const short = shortAnswerCount(rows);
  const missing = Math.round(short * 0.4);
  return {
    rows,
    defects: {
      ...scaled(DROPPED),
      ...scaled(REPAIRED),
      missing_answer: missing,
      tiny_answer: short - missing,
      quarantine_self_harm: Math.min(texts.selfHarm, Math.ceil(texts.selfHarm * scale)),
      quarantine_advice: Math.min(texts.advice, Math.ceil(texts.advice * scale)),
    },
    followUps: Math.round(rows * 0.15),
  };
}
