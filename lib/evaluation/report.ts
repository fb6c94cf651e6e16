/**
 * The shape of `evaluation_results.json`: schemas first, types under the same names.
 *
 * @module
 */
import { z } from "zod";
import { Config } from "@lib/config.ts";
import { METRIC_IDS } from "./metric_ids.ts";
import { EMPATHY_CRITERIA } from "./rubric.ts";

const share = z.number().min(0).max(1);
const count = z.number().int().nonnegative();
const level = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const criteria = z.enum(EMPATHY_CRITERIA);
const metric = z.enum(METRIC_IDS as [typeof METRIC_IDS[number], ...typeof METRIC_IDS[number][]]);

/** Gives files of older versions the metrics they lack, as not measured. */
function withMetrics(nothing: object): (value: unknown) => unknown {
  return (value) => {
    if (typeof value !== "object" || value === null) return value;
    return { ...Object.fromEntries(METRIC_IDS.map((id) => [id, nothing])), ...value };
  };
}

/** A value with its 95 % interval; null where it is undefined or was not measured. */
export const Estimate = z.strictObject({
  value: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  /** Items it was measured on. */
  n: count,
});
export type Estimate = z.infer<typeof Estimate>;

/** What one answer got. */
export const ItemReport = z.strictObject({
  id: z.union([z.number(), z.string()]),
  group: z.union([z.number(), z.string()]),
  /** Sentence BLEU with effective order, and chrF++, 0..100. */
  bleu: z.number(),
  chrf_pp: z.number(),
  rouge_1: share,
  rouge_2: share,
  rouge_l: share,
  /** 0..100, safety applied. */
  empathy: z.number(),
  levels: z.record(criteria, level),
  legacy_keyword_score: z.number(),
  form: z.boolean(),
  safety: z.boolean(),
  /** What failed: form checks and kinds of safety violation. */
  failed: z.array(z.string()),
  words: count,
  /** Nats over answer and end token; null when not measured. */
  nll: z.number().nullable(),
  tokens: count.nullable(),
  /** Nats over the text alone, without the end token; null when not measured, or by an older version. */
  text_nll: z.number().nullable().default(null),
  /** Cosine to the reference, and to another group's; null when not measured. */
  semantic: z.number().nullable().default(null),
  semantic_floor: z.number().nullable().default(null),
});
export type ItemReport = z.infer<typeof ItemReport>;

/** Scores when every answer is held against another group's question and reference. */
export const FloorReport = z.strictObject({
  bleu: z.number(),
  chrf_pp: z.number(),
  rouge_l: share,
  empathy: z.number(),
});
export type FloorReport = z.infer<typeof FloorReport>;

/** Everything measured of one system. */
export const SystemReport = z.strictObject({
  n: count,
  groups: count,
  metrics: z.preprocess(
    withMetrics({ value: null, low: null, high: null, n: 0 }),
    z.record(metric, Estimate),
  ),
  /** How many answers have level 0, 1 and 2. */
  level_counts: z.record(criteria, z.tuple([count, count, count])),
  /** Share of answers that pass each check of the form gate. */
  form_checks: z.record(z.string(), share),
  /** Answers with each kind of safety violation. */
  safety_violations: z.record(z.string(), count),
  /** distinct-n over all answers; no interval, drawing twice lowers it by itself. */
  distinct_1: z.number().nullable(),
  distinct_2: z.number().nullable(),
  /** null with fewer than two groups. */
  floor: FloorReport.nullable(),
  items: z.array(ItemReport),
});
export type SystemReport = z.infer<typeof SystemReport>;

/** One metric of two systems on the same items. */
export const MetricComparison = z.strictObject({
  base: z.number().nullable(),
  tuned: z.number().nullable(),
  /** tuned − base. */
  difference: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  /** Paired bootstrap, two-sided, as sacreBLEU defines it; not corrected for many metrics. */
  p_value: z.number().nullable(),
  n: count,
});
export type MetricComparison = z.infer<typeof MetricComparison>;

/** All metrics of two systems. */
export const Comparison = z.preprocess(
  withMetrics({
    base: null,
    tuned: null,
    difference: null,
    low: null,
    high: null,
    p_value: null,
    n: 0,
  }),
  z.record(metric, MetricComparison),
);
export type Comparison = z.infer<typeof Comparison>;

/** How intervals were made. */
export const BootstrapSettings = z.strictObject({
  draws: count,
  seed: z.number().int(),
  level: z.literal(0.95),
  unit: z.literal("group"),
  method: z.literal("percentile"),
});
export type BootstrapSettings = z.infer<typeof BootstrapSettings>;

/** What the answers were made with. */
export const EvaluationContext = z.strictObject({
  run: z.string(),
  base_model: z.string(),
  quantization: z.string(),
  system_prompt: z.string(),
  generation: Config.shape.generation,
  seed: z.number().int(),
});
export type EvaluationContext = z.infer<typeof EvaluationContext>;

/** The file `evaluation_results.json`. */
export const EvaluationResults = EvaluationContext.extend({
  format: z.literal(1),
  n: count,
  groups: count,
  /** What a reader must know before quoting a number. */
  notes: z.array(z.string()).min(1),
  signatures: z.strictObject({
    bleu: z.string(),
    bleu_1: z.string(),
    chrf_pp: z.string(),
    rouge: z.string(),
    empathy: z.string(),
    /** null when no sentence encoder was at hand. */
    semantic: z.string().nullable().default(null),
  }),
  bootstrap: BootstrapSettings,
  systems: z.strictObject({ base: SystemReport, tuned: SystemReport }),
  /** The reference answers under the rubric: what the data itself reaches. */
  reference: z.strictObject({
    empathy: Estimate,
    levels: z.record(criteria, Estimate),
    legacy_keyword_score: Estimate,
  }),
  differences: Comparison,
});
export type EvaluationResults = z.infer<typeof EvaluationResults>;
