/** Metrics of base and tuned as rows of a table. */
import { type MetricId, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { EvaluationResults } from "@lib/evaluation/report.ts";

/** One metric: both systems, the difference and its interval. */
export type MetricRow = {
  readonly metric: string;
  readonly unit: string;
  readonly better: string;
  readonly base: number | null;
  readonly tuned: number | null;
  readonly difference: number | null;
  readonly low: number | null;
  readonly high: number | null;
};

/** Rows of the metrics asked for, those that were not measured left out. */
export function metricRows(
  { differences }: Pick<EvaluationResults, "differences">,
  ids: readonly MetricId[],
): MetricRow[] {
  return ids.filter((id) => differences[id].n > 0).map((id) => {
    const { label: metric, unit, better } = metricInfo(id);
    const { base, tuned, difference, low, high } = differences[id];
    return { metric, unit, better, base, tuned, difference, low, high };
  });
}
