/**
 * What came of an exercise.
 *
 * @module
 */

/** How an exercise can end. */
export const OUTCOMES = [
  "passed",
  "failed",
  "time limit",
  "memory limit",
  "printed too much",
  "ended its process",
  "cannot run",
  "not answered",
] as const;
/** How an exercise ended. */
export type Outcome = typeof OUTCOMES[number];

/** One check of an exercise. */
export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
}

/** What came of one exercise. */
export interface ExerciseResult {
  readonly exercise: number;
  readonly outcome: Outcome;
  readonly checks: readonly CheckResult[];
  /** What went wrong besides checks; empty where nothing did. */
  readonly error: string;
}
