/**
 * How far the automatic empathy score agrees with answers graded by hand.
 *
 * @module
 */
import { agreement, kappaTable } from "./agreement.ts";
import { bootstrapInterval, drawGroups, type DrawOptions, type Draws } from "./bootstrap.ts";
import { scoreEmpathy } from "./empathy.ts";
import type { EmpathyLexicon } from "./empathy_lexicon.ts";
import type { GradedAnswer } from "./graded_answers.ts";
import { alphaTable } from "./krippendorff.ts";
import type { Estimate } from "./report.ts";
import { EMPATHY_CRITERIA, type EmpathyCriterion, type EmpathyLevels } from "./rubric.ts";
import { meanTable, type MetricTable, statisticsOf } from "./statistics.ts";
import { estimate } from "./system_report.ts";

const LEVELS = 3;

/** Agreement of two sets of levels. */
export interface LevelAgreement {
  readonly n: number;
  /** Share of answers with the same level. */
  readonly exact: Estimate;
  /** Cohen's κ with quadratic weights. */
  readonly weighted_kappa: Estimate;
  /** Krippendorff's α for ordered levels. */
  readonly alpha: Estimate;
  /** `confusion[a][b]`: how often the grader gave a and the other b. */
  readonly confusion: readonly (readonly number[])[];
}

/** The safety gate, with the check for claims of lived experience, against what a reader found. */
export interface GateAgreement {
  readonly harmful_caught: number;
  readonly harmful_missed: number;
  readonly harmless_stopped: number;
  readonly harmless_passed: number;
}

/** The scorer against the grades, and the grades against themselves. */
export interface GradedAgreement {
  readonly n: number;
  /** What the intervals are drawn over. */
  readonly questions: number;
  readonly criteria: Readonly<Record<EmpathyCriterion, LevelAgreement>>;
  /** Pearson's r of the two sums of levels. */
  readonly sum_correlation: Estimate;
  /** The two passes of grading against each other; null where there was one. */
  readonly passes: Readonly<Record<EmpathyCriterion, LevelAgreement>> | null;
  /** null where nobody looked for harm. */
  readonly safety: GateAgreement | null;
}

function levelAgreement(
  first: readonly number[],
  second: readonly number[],
  draws: Draws,
): LevelAgreement {
  const n = first.length;
  const same = meanTable(first.map((level, i) => Number(level === second[i])));
  const units = first.map((level, i) => [level, second[i] ?? null]);
  return {
    n,
    exact: estimate(same, draws, n),
    weighted_kappa: estimate(kappaTable(first, second, LEVELS), draws, n),
    alpha: estimate(alphaTable(units, { levels: LEVELS }), draws, n),
    confusion: agreement(first, second, LEVELS).confusion,
  };
}

function byCriterion(
  first: readonly EmpathyLevels[],
  second: readonly EmpathyLevels[],
  draws: Draws,
): Record<EmpathyCriterion, LevelAgreement> {
  const of = (criterion: EmpathyCriterion) =>
    levelAgreement(
      first.map((levels) => levels[criterion]),
      second.map((levels) => levels[criterion]),
      draws,
    );
  return {
    reaction: of("reaction"),
    interpretation: of("interpretation"),
    exploration: of("exploration"),
    support: of("support"),
  };
}

const sumOf = (levels: EmpathyLevels): number =>
  EMPATHY_CRITERIA.reduce((sum, criterion) => sum + levels[criterion], 0);

/** Pearson's r as a table. */
function correlationTable(x: readonly number[], y: readonly number[]): MetricTable {
  const rows = x.map((a, i) => {
    const b = y[i] ?? 0;
    return [1, a, b, a * a, b * b, a * b];
  });
  return {
    statistics: statisticsOf(rows, 6),
    score: ([n = 0, a = 0, b = 0, aa = 0, bb = 0, ab = 0]) =>
      (n * ab - a * b) / Math.sqrt((n * aa - a * a) * (n * bb - b * b)),
  };
}

function gateAgreement(graded: readonly GradedAnswer[], passes: readonly boolean[]) {
  const judged = graded.flatMap(({ harmful }, i) =>
    harmful === null ? [] : [{ harmful, passes: passes[i] ?? true }]
  );
  if (judged.length === 0) return null;
  const count = (harmful: boolean, pass: boolean) =>
    judged.filter((one) => one.harmful === harmful && one.passes === pass).length;
  return {
    harmful_caught: count(true, false),
    harmful_missed: count(true, true),
    harmless_stopped: count(false, false),
    harmless_passed: count(false, true),
  };
}

/**
 * Agreement of the automatic levels with the graded ones, intervals drawn over questions.
 *
 * @param lexicon another lexicon than the embedded one
 * @throws {RangeError} no answers
 */
export function gradedAgreement(
  graded: readonly GradedAnswer[],
  options: DrawOptions & { readonly lexicon?: EmpathyLexicon } = {},
): GradedAgreement {
  const draws = drawGroups(graded.map(({ question }) => question), options);
  const scores = graded.map((one) => scoreEmpathy(one.question, one.answer, options.lexicon));
  const given = graded.map(({ levels }) => levels);
  const found = scores.map(({ levels }) => levels);
  const second = graded.flatMap(({ second }) => second === null ? [] : [second]);
  const correlation = bootstrapInterval(
    correlationTable(given.map(sumOf), found.map(sumOf)),
    draws,
  );
  return {
    n: graded.length,
    questions: draws.groups,
    criteria: byCriterion(given, found, draws),
    sum_correlation: { ...correlation, n: graded.length },
    passes: second.length === graded.length ? byCriterion(given, second, draws) : null,
    safety: gateAgreement(
      graded,
      // Graders count a claim to have lived the same as harm; here it is a check of the form gate.
      scores.map(({ safety, form }) => safety.pass && form.checks.noLivedExperience),
    ),
  };
}
