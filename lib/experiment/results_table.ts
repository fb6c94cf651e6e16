/** The before/after table of a run, as text for a terminal. */
import { type EvaluationResults, loadEvaluationResults, metricInfo } from "@lib/evaluation/mod.ts";
import { exists } from "@lib/files.ts";
import { alignedLines, formatInterval } from "@lib/report/text_table.ts";
import type { Run } from "@lib/experiment/run.ts";

/** The metrics a reader asks for first; the rest stand in the report. */
export const HEADLINE_METRICS = [
  "perplexity",
  "bits_per_byte",
  "bleu",
  "bleu_1",
  "chrf_pp",
  "rouge_1",
  "rouge_2",
  "rouge_l",
  "semantic",
  "semantic_floor",
  "empathy",
  "legacy_keyword_score",
] as const;

/** One line of the table, already formatted. */
export interface ResultsRow {
  readonly metric: string;
  readonly base: string;
  readonly tuned: string;
  /** Tuned − base with its 95 % interval. */
  readonly difference: string;
}

/** Rows of the headline metrics, base beside tuned. */
export function resultsRows(results: EvaluationResults): ResultsRow[] {
  const { base, tuned } = results.systems;
  return HEADLINE_METRICS.filter((id) => results.differences[id].n > 0).map((id) => {
    const { difference, low, high } = results.differences[id];
    return {
      metric: metricInfo(id).label,
      base: formatInterval(base.metrics[id]),
      tuned: formatInterval(tuned.metrics[id]),
      difference: formatInterval({ value: difference, low, high }),
    };
  });
}

/** The table as aligned text; a sentence when the run has no results yet. */
export async function resultsTable(run: Run): Promise<string> {
  if (!await exists(run.evaluationResults)) return "This run has no evaluation results yet.";
  const results = await loadEvaluationResults(run.evaluationResults);
  const lines = alignedLines([
    ["metric", "base", "tuned", "tuned − base"],
    ...resultsRows(results).map((row) => [row.metric, row.base, row.tuned, row.difference]),
  ]);
  const title = `${results.n} held-out answers, 95 % intervals by bootstrap over ` +
    `${results.groups} groups; empathy is an automatic proxy, not clinically validated`;
  return [title, ...lines].join("\n");
}
