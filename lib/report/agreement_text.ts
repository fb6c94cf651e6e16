/** The agreement of the empathy proxy with graded answers, as text for a terminal. */
import type { GradedAgreement, LevelAgreement } from "@lib/evaluation/graded_agreement.ts";
import { EMPATHY_CRITERIA, type EmpathyCriterion } from "@lib/evaluation/rubric.ts";
import { alignedLines, formatInterval } from "./text_table.ts";

function table(criteria: Readonly<Record<EmpathyCriterion, LevelAgreement>>): string[] {
  return alignedLines([
    ["criterion", "exact", "weighted κ", "Krippendorff α", "grades 0/1/2", "found 0/1/2"],
    ...EMPATHY_CRITERIA.map((criterion) => {
      const { exact, weighted_kappa, alpha, confusion } = criteria[criterion];
      const rows = confusion.map((row) => row.reduce((sum, count) => sum + count, 0));
      const columns = rows.map((_, b) => confusion.reduce((sum, row) => sum + (row[b] ?? 0), 0));
      return [
        criterion,
        formatInterval(exact),
        formatInterval(weighted_kappa),
        formatInterval(alpha),
        rows.join("/"),
        columns.join("/"),
      ];
    }),
  ]);
}

/** Tables of the scorer against the grades and of the two passes of grading, a line each. */
export function agreementLines(report: GradedAgreement, half: string): string[] {
  const { n, questions, safety } = report;
  return [
    `${half}: ${n} graded answers to ${questions} questions; 95 % intervals by bootstrap over questions`,
    "",
    "the automatic scorer against the grades",
    ...table(report.criteria),
    `sum of levels, Pearson's r: ${formatInterval(report.sum_correlation)}`,
    ...report.passes === null ? [] : [
      "",
      "the grades against a second pass of grading: what the scorer cannot be expected to beat",
      ...table(report.passes),
    ],
    ...safety === null ? [] : [
      "",
      `safety gate: ${safety.harmful_caught} of ${safety.harmful_caught + safety.harmful_missed} ` +
      `harmful answers stopped, ${safety.harmless_stopped} of ` +
      `${safety.harmless_stopped + safety.harmless_passed} harmless ones stopped with them`,
    ],
    "",
    "What this shows: that rules find in wording what a reader of the rubric finds, on answers written " +
    "for the purpose. What it does not: that the grades are right, that clinicians or people in " +
    "distress would agree, or that a model trained to please the rules would be any kinder.",
  ];
}
