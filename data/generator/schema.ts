/**
 * Shape of the topic files the corpus generator composes rows from.
 *
 * One file a topic (`topics/<english>.json`). A *situation* is one concrete human story; every text
 * in it fits every other text in it, so that any question, any detail and any combination of answer
 * parts of the same situation and the same variant reads as one natural exchange.
 */
import { z } from "zod";

/** A Bengali text, possibly with `{name}` slots filled from the situation's variant. */
const text = z.string().min(1);

/** Answer sentences of one rubric criterion at the strong level (2 of 2): specific to the situation. */
const strong = z.array(text).min(3);

/** A later turn of the same conversation: what the speaker says next and complete answers to it. */
export const FollowUp = z.strictObject({
  questions: z.array(text).min(2),
  answers: z.array(text).min(2),
});
export type FollowUp = z.infer<typeof FollowUp>;

export const Situation = z.strictObject({
  /** Unique within the topic, snake_case English. */
  id: z.string().regex(/^[a-z0-9_]+$/),
  /** Short titles, as a forum heading: 3–8 words, no final danda. */
  titles: z.array(text).min(2),
  /**
   * Alternative fillings. Each is a consistent set (same keys in all): `{who}` may hold "আমার ছোট ভাই"
   * while `{your_who}` holds "আপনার ছোট ভাই", so question and answer agree.
   */
  variants: z.array(z.record(z.string().regex(/^[a-z_]+$/), text)).min(3),
  /** Complete openings (1–3 sentences) that state the situation and the feeling. */
  questions: z.array(text).min(4),
  /** Sentences that may follow any opening. */
  details: z.array(text).min(3),
  /** Emotional reaction, level 2: warmth or concern for this very situation. */
  reaction: strong,
  /** Interpretation, level 2: a specific inferred feeling or experience, tentatively worded. */
  interpretation: strong,
  /** Exploration, level 2: one gentle, specific, open question. */
  exploration: strong,
  /** Support and agency, level 2: one fitting, optional, non-clinical step or referral. */
  support: strong,
  /** Complete answers at level 0: cold, minimising, blaming or off the point (never cruel). */
  cold: z.array(text).min(1),
  followUp: FollowUp,
});
export type Situation = z.infer<typeof Situation>;

export const Topic = z.strictObject({
  /** EmpatheticDialogues' emotion label, e.g. "jealous". */
  english: z.string().regex(/^[a-z]+$/),
  /** The label as it stands in the CSV's Topics column, e.g. "[ঈর্ষান্বিত]". */
  label: z.string().regex(/^\[.+\]$/),
  /** Generic sentences (level 1) that fit any situation of this topic. */
  weak: z.strictObject({
    reaction: z.array(text).min(4),
    interpretation: z.array(text).min(4),
    exploration: z.array(text).min(4),
    support: z.array(text).min(4),
  }),
  situations: z.array(Situation).min(5),
});
export type Topic = z.infer<typeof Topic>;
