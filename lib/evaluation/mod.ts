/**
 * Evaluation: likelihood, overlap, empathy, gates, degeneracy, with intervals.
 *
 * `evaluateAnswers` (one system) → `compareSystems` (paired differences) → `evaluationResults` →
 * `saveEvaluationResults`.
 *
 * @module
 */
export * from "./agreement.ts";
export * from "./bleu.ts";
export * from "./bleu_tokenizers.ts";
export * from "./bootstrap.ts";
export * from "./chrf.ts";
export * from "./compare.ts";
export * from "./degeneracy.ts";
export * from "./empathy.ts";
export {
  FORM_CHECKS,
  type FormCheck,
  type FormGate,
  type SafetyGate,
  type SafetyViolation,
  type SafetyViolationKind,
} from "./empathy_gates.ts";
export { EmpathyLexicon, empathyLexicon } from "./empathy_lexicon.ts";
export { evaluateAnswers, type EvaluateOptions, type Evaluation } from "./evaluate.ts";
export * from "./graded_agreement.ts";
export * from "./graded_answers.ts";
export * from "./krippendorff.ts";
export * from "./legacy_keyword_score.ts";
export * from "./likelihood.ts";
export { METRIC_IDS, type MetricId, type MetricInfo, metricInfo } from "./metric_ids.ts";
export * from "./metric_text.ts";
export * from "./perplexity.ts";
export * from "./report.ts";
export * from "./pair_file.ts";
export * from "./results.ts";
export * from "./rouge.ts";
export * from "./rubric.ts";
export type { EvaluationItem, ScoredItem } from "./scored_item.ts";
export * from "./score.ts";
export * from "./semantic.ts";
export * from "./statistics.ts";
export * from "./systems.ts";
