/** What people say of the answers on the page, kept with their consent and not otherwise. */
import { z } from "zod";
import type { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { HttpProblem } from "./problem.ts";

/** The text people agree to; another text is another version. */
export const CONSENT_VERSION = 1;

const Level = z.union([z.literal(0), z.literal(1), z.literal(2)]);

/** What was agreed to, when, and in which language it was read. */
export const Consent = z.strictObject({
  version: z.literal(CONSENT_VERSION),
  agreed_at: z.iso.datetime(),
  language: z.enum(["bn", "en"]),
});
export type Consent = z.infer<typeof Consent>;

/** Levels of the four criteria. */
export const Levels = z.strictObject(
  {
    reaction: Level,
    interpretation: Level,
    exploration: Level,
    support: Level,
  } satisfies Record<typeof EMPATHY_CRITERIA[number], typeof Level>,
);

const Turn = z.strictObject({
  role: z.enum(["user", "assistant"]),
  content: z.string().max(32_000),
});

/** One rated answer. */
const RatedAnswer = z.strictObject({
  /** Where it stood: that is what a blind rater knew of it. */
  place: z.enum(["only", "left", "right"]),
  model: z.enum(["base", "tuned"]),
  /** The conversation it answers, its question last. */
  conversation: z.array(Turn).min(1).max(200),
  answer: z.string().max(32_000),
  finish: z.string().max(40),
  /** null: not rated. */
  levels: Levels.partial().nullable(),
  thumb: z.enum(["up", "down"]).nullable(),
});

/** What the page sends. */
export const RatingSubmission = z.strictObject({
  /** Chosen by the page at random, so that one visitor's ratings can be told from another's. */
  visitor: z.uuid(),
  /** Repeated when a submission is sent again: the first one counts. */
  submission: z.uuid(),
  consent: Consent,
  mode: z.enum(["single", "side_by_side", "blind"]),
  settings: z.strictObject({ temperature: z.number(), seed: z.number().int() }),
  answers: z.array(RatedAnswer).min(1).max(2),
});

/** What is kept. */
export const RatingRecord = RatingSubmission.extend({
  format: z.literal(1),
  time: z.iso.datetime(),
  run: z.string(),
});
export type RatingRecord = z.infer<typeof RatingRecord>;

/**
 * Reads a submission.
 *
 * @throws {HttpProblem} 403 without consent, 400 for anything else that is wrong
 */
export function parseRating(body: unknown, run: string): RatingRecord {
  const consent = z.object({ consent: Consent }).safeParse(body);
  if (!consent.success) throw noConsent();
  const parsed = RatingSubmission.safeParse(body);
  if (!parsed.success) {
    throw new HttpProblem(
      400,
      `The rating: ${z.prettifyError(parsed.error)}. Reload the page and rate again.`,
      { code: "invalid_value" },
    );
  }
  return { format: 1, time: new Date().toISOString(), run, ...parsed.data };
}

/** The refusal of whatever would be kept without consent. */
export function noConsent(): HttpProblem {
  return new HttpProblem(
    403,
    `consent: expected agreement to version ${CONSENT_VERSION} of the consent text, found none. ` +
      "Nothing was kept. Agree on the page to have ratings kept.",
    { code: "consent_required", param: "consent" },
  );
}
