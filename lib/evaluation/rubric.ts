/**
 * The rubric of empathy: four criteria of three levels.
 *
 * The first three are EPITOME's (Sharma et al. 2020, arXiv 2009.08441), the fourth comes from ESConv
 * and the system prompt: EPITOME-derived, not EPITOME.
 *
 * @module
 */

/** The criteria, in the order in which answers take them up. */
export const EMPATHY_CRITERIA = ["reaction", "interpretation", "exploration", "support"] as const;
export type EmpathyCriterion = (typeof EMPATHY_CRITERIA)[number];

/** 0 absent, 1 weak, 2 strong. */
export type EmpathyLevel = 0 | 1 | 2;
/** A level for each criterion. */
export type EmpathyLevels = Readonly<Record<EmpathyCriterion, EmpathyLevel>>;

/** What must be said wherever the score is shown. */
export const EMPATHY_DISCLAIMER =
  "Automatic proxy by rules, not clinically validated: it sees wording, not understanding. " +
  "EPITOME-derived; compare systems with it, do not certify one.";

/** Sum of the levels, of 8, in percent. */
export function rubricScore(levels: EmpathyLevels): number {
  return EMPATHY_CRITERIA.reduce((sum, criterion) => sum + levels[criterion], 0) / 8 * 100;
}
