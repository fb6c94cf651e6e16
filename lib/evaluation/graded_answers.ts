/**
 * Answers graded by hand, and how far the automatic empathy score agrees with them.
 *
 * @module
 */
import { z } from "zod";
import { FileReadError, loadJson } from "@lib/files.ts";
import { type Agreement, agreement } from "./agreement.ts";
import { scoreEmpathy } from "./empathy.ts";
import type { EmpathyLexicon } from "./empathy_lexicon.ts";
import { EMPATHY_CRITERIA, type EmpathyCriterion } from "./rubric.ts";

const level = z.union([z.literal(0), z.literal(1), z.literal(2)]);

/** One graded answer. */
export const GradedAnswer = z.strictObject({
  /** `build`: looked at while the scorer was made; `held_out`: never tuned on. */
  half: z.enum(["build", "held_out"]),
  question: z.string().min(1),
  answer: z.string().min(1),
  levels: z.record(z.enum(EMPATHY_CRITERIA), level),
  /** Why these levels. */
  reason: z.string().min(1),
});
export type GradedAnswer = z.infer<typeof GradedAnswer>;

/** Reads a file of graded answers. @throws {FileReadError} missing or of another shape */
export async function loadGradedAnswers(path: string): Promise<GradedAnswer[]> {
  const hint = "Restore it from the repository, or grade answers in its shape.";
  const parsed = z.array(GradedAnswer).min(1).safeParse(await loadJson(path, hint));
  if (parsed.success) return parsed.data;
  throw new FileReadError(`${path}: ${z.prettifyError(parsed.error)}. ${hint}`);
}

/** Agreement of the automatic levels with the graded ones, by criterion. */
export function gradedAgreement(
  graded: readonly GradedAnswer[],
  lexicon?: EmpathyLexicon,
): Record<EmpathyCriterion, Agreement> {
  const scores = graded.map((one) => scoreEmpathy(one.question, one.answer, lexicon).levels);
  const of = (criterion: EmpathyCriterion): Agreement =>
    agreement(
      graded.map((one) => one.levels[criterion]),
      scores.map((levels) => levels[criterion]),
      3,
    );
  return {
    reaction: of("reaction"),
    interpretation: of("interpretation"),
    exploration: of("exploration"),
    support: of("support"),
  };
}
