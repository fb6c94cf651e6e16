/**
 * Every metric of the evaluation: its key in JSON, its label, unit and direction.
 *
 * @module
 */
import type { OnProgress } from "@lib/phases.ts";

/** How a metric is read. */
export interface MetricInfo {
  readonly label: string;
  /** What its numbers are. */
  readonly unit: "ratio" | "bits" | "0..100" | "0..1" | "0..2" | "share" | "words" | "cosine";
  readonly better: "higher" | "lower" | "neither";
  readonly family: "likelihood" | "overlap" | "semantic" | "empathy" | "gates" | "degeneracy";
}

type Row = readonly [
  label: string,
  unit: MetricInfo["unit"],
  better: MetricInfo["better"],
  family: MetricInfo["family"],
];

const ROWS = {
  perplexity: ["Perplexity", "ratio", "lower", "likelihood"],
  bits_per_byte: ["Bits per byte", "bits", "lower", "likelihood"],
  bleu: ["BLEU", "0..100", "higher", "overlap"],
  bleu_1: ["BLEU-1", "0..100", "higher", "overlap"],
  chrf_pp: ["chrF++", "0..100", "higher", "overlap"],
  rouge_1: ["ROUGE-1 F1", "0..1", "higher", "overlap"],
  rouge_2: ["ROUGE-2 F1", "0..1", "higher", "overlap"],
  rouge_l: ["ROUGE-L F1", "0..1", "higher", "overlap"],
  semantic: ["Semantic similarity", "cosine", "higher", "semantic"],
  semantic_floor: ["… to another's reference", "cosine", "neither", "semantic"],
  empathy: ["Empathy (proxy)", "0..100", "higher", "empathy"],
  empathy_reaction: ["Emotional reaction", "0..2", "higher", "empathy"],
  empathy_interpretation: ["Interpretation", "0..2", "higher", "empathy"],
  empathy_exploration: ["Exploration", "0..2", "higher", "empathy"],
  empathy_support: ["Support and agency", "0..2", "higher", "empathy"],
  legacy_keyword_score: ["Keyword score (legacy)", "0..100", "neither", "empathy"],
  gate_form: ["Form gate passed", "share", "higher", "gates"],
  gate_safety: ["Safety gate passed", "share", "higher", "gates"],
  ends_in_terminal: ["Ends as a sentence", "share", "higher", "degeneracy"],
  hit_cap: ["Cut off at the cap", "share", "lower", "degeneracy"],
  has_replacement: ["Holds U+FFFD", "share", "lower", "degeneracy"],
  repeats_four_gram: ["Repeats four words", "share", "lower", "degeneracy"],
  non_bengali: ["Not Bengali", "share", "lower", "degeneracy"],
  empty: ["Empty", "share", "lower", "degeneracy"],
  answer_words: ["Words an answer", "words", "neither", "degeneracy"],
} as const satisfies Record<string, Row>;

/** Key of a metric. */
export type MetricId = keyof typeof ROWS;

/** All keys, in the order of reports. */
export const METRIC_IDS = Object.keys(ROWS) as readonly MetricId[];

/** What is known about a metric. */
export function metricInfo(id: MetricId): MetricInfo {
  const [label, unit, better, family] = ROWS[id];
  return { label, unit, better, family };
}

/** Builds a record with one entry a metric. @param onProgress called with the metrics done */
export function forEachMetric<T>(
  make: (id: MetricId) => T,
  onProgress?: OnProgress,
): Record<MetricId, T> {
  const entries = METRIC_IDS.map((id, i) => {
    const entry = [id, make(id)] as const;
    onProgress?.(i + 1, METRIC_IDS.length);
    return entry;
  });
  return Object.fromEntries(entries) as Record<MetricId, T>;
}
