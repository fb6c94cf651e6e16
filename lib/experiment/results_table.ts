/** The before/after table of a run, as text for a terminal. */
import {
  type Estimate,
  type EvaluationResults,
  loadEvaluationResults,
  metricInfo,
} from "@lib/evaluation/mod.ts";
import { exists } from "@lib/files.ts";
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

function format(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3).replace(/e\+?/, "e");
}

function interval(estimate: Estimate | undefined): string {
  if (estimate === undefined || estimate.value === null) return "–";
  return `${format(estimate.value)} [${format(estimate.low)}, ${format(estimate.high)}]`;
}

/** Rows of the headline metrics, base beside tuned. */
export function resultsRows(results: EvaluationResults): ResultsRow[] {
  const { base, tuned } = results.systems;
  return HEADLINE_METRICS.map((id) => {
    const change = results.differences[id];
    return {
      metric: metricInfo(id).label,
      base: interval(base.metrics[id]),
      tuned: interval(tuned.metrics[id]),
      difference: change === undefined
        ? "–"
        : `${format(change.difference)} [${format(change.low)}, ${format(change.high)}]`,
    };
  });
}

/** The table as aligned text; a sentence when the run has no results yet. */
export async function resultsTable(run: Run): Promise<string> {
  if (!await exists(run.evaluationResults)) return "This run has no evaluation results yet.";
  const results = await loadEvaluationResults(run.evaluationResults);
  const rows = resultsRows(results);
  const head = { metric: "metric", base: "base", tuned: "tuned", difference: "tuned − base" };
  const width = (key: keyof ResultsRow) =>
    Math.max(...[head, ...rows].map((row) => row[key].length));
  const columns = (["metric", "base", "tuned", "difference"] as const)
    .map((key) => [key, width(key)] as const);
  const lines = [head, ...rows].map((row) =>
    columns.map(([key, w]) => row[key].padEnd(w)).join("   ").trimEnd()
  );
  const title = `${results.n} held-out answers, 95 % intervals by bootstrap over ` +
    `${results.groups} groups; empathy is an automatic proxy, not clinically validated`;
  return [title, ...lines].join("\n");
}
