/**
 * A test item before and after its answer is scored.
 *
 * @module
 */
import type { AnswerSigns, FinishReason } from "./degeneracy.ts";
import type { EmpathyScore } from "./empathy.ts";
import type { LegacyKeywordScore } from "./legacy_keyword_score.ts";
import type { MetricId } from "./metric_ids.ts";
import type { ItemLikelihood } from "./perplexity.ts";
import type { ItemSimilarity } from "./semantic.ts";

/** One test item with a system's answer to it. */
export interface EvaluationItem {
  /** Names the item in the per-item table. @default {its place} */
  readonly id?: number | string;
  /** What the bootstrap draws: items that are not independent share a group. */
  readonly group: number | string;
  readonly question: string;
  readonly reference: string;
  readonly hypothesis: string;
  /** How generation ended; null when unknown. @default {null} */
  readonly finish?: FinishReason | null;
  /** Likelihood of the reference under the system; null when not measured. @default {null} */
  readonly likelihood?: ItemLikelihood;
  /** Semantic similarity; null when not measured. @default {null} */
  readonly similarity?: ItemSimilarity | null;
}

/** Scores of one answer that the tables and the report share. */
export interface ScoredItem extends EvaluationItem {
  readonly empathy: EmpathyScore;
  readonly legacy: LegacyKeywordScore;
  readonly signs: AnswerSigns;
  readonly words: number;
}

/** Number of items that a metric was measured on. */
export function measuredItems(id: MetricId, items: readonly ScoredItem[]): number {
  if (id === "perplexity" || id === "bits_per_byte") {
    return items.filter((item) => (item.likelihood ?? null) !== null).length;
  }
  if (id === "semantic") {
    return items.filter(({ similarity }) => (similarity ?? null) !== null).length;
  }
  if (id === "semantic_floor") {
    return items.filter(({ similarity }) => (similarity?.floor ?? null) !== null).length;
  }
  return id === "hit_cap"
    ? items.filter((item) => item.signs.capped !== null).length
    : items.length;
}
