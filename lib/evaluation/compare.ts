/**
 * Two systems on the same items.
 *
 * @module
 */
import type { OnProgress } from "@lib/phases.ts";
import { pairedDifference } from "./bootstrap.ts";
import type { Evaluation } from "./evaluate.ts";
import { forEachMetric, type MetricId } from "./metric_ids.ts";
import type { Comparison, MetricComparison } from "./report.ts";
import { measuredItems } from "./scored_item.ts";
import { finiteOrNull } from "./system_report.ts";

/** @throws {RangeError} when two evaluations are not of the same items in the same order */
function assertSameItems(a: Evaluation, b: Evaluation): void {
  const at = a.items.findIndex((item, i) => {
    const other = b.items[i];
    return other === undefined || item.group !== other.group || item.question !== other.question ||
      item.reference !== other.reference;
  });
  if (at >= 0 || a.items.length !== b.items.length) {
    const place = at >= 0 ? at : a.items.length;
    throw new RangeError(
      `Cannot compare systems: expected the same items in the same order, found a difference at ` +
        `item ${place} (${a.items.length} and ${b.items.length} items). Generate both again.`,
    );
  }
  if (a.seed !== b.seed || a.draws.draws !== b.draws.draws) {
    throw new RangeError(
      `Cannot compare systems: expected one seed and number of draws, found seeds ${a.seed} and ` +
        `${b.seed}, draws ${a.draws.draws} and ${b.draws.draws}.`,
    );
  }
}

function compareMetric(id: MetricId, base: Evaluation, tuned: Evaluation): MetricComparison {
  const values = {
    base: base.report.metrics[id].value,
    tuned: tuned.report.metrics[id].value,
  };
  const n = Math.min(measuredItems(id, base.items), measuredItems(id, tuned.items));
  if (n === 0) {
    return { ...values, difference: null, low: null, high: null, p_value: null, n };
  }
  const { value, low, high, pValue } = pairedDifference(
    base.tables[id],
    tuned.tables[id],
    base.draws,
  );
  return {
    ...values,
    difference: finiteOrNull(value),
    low: finiteOrNull(low),
    high: finiteOrNull(high),
    p_value: finiteOrNull(pValue),
    n,
  };
}

/**
 * Paired differences tuned − base of every metric: both are scored on the same draws.
 *
 * @param onProgress called with the metrics done, of all
 * @throws {RangeError} different items, seeds or numbers of draws
 *
 * @example
 * ```ts
 * import { compareSystems } from "@lib/evaluation/compare.ts";
 * import { evaluateAnswers } from "@lib/evaluation/evaluate.ts";
 * import { assertEquals } from "@std/assert";
 * const items = [1, 2, 3].map((group) => ({
 *   group,
 *   question: "মন ভালো নেই।",
 *   reference: "শুনে খারাপ লাগছে।",
 * }));
 * const base = evaluateAnswers(items.map((item) => ({ ...item, hypothesis: "" })));
 * const tuned = evaluateAnswers(items.map((item) => ({ ...item, hypothesis: item.reference })));
 * assertEquals(compareSystems(base, tuned).rouge_1.difference, 1);
 * ```
 */
export function compareSystems(
  base: Evaluation,
  tuned: Evaluation,
  onProgress?: OnProgress,
): Comparison {
  assertSameItems(base, tuned);
  return forEachMetric((id) => compareMetric(id, base, tuned), onProgress);
}
