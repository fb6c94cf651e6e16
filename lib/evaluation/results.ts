/**
 * `evaluation_results.json`: both systems, the references and the differences in one file.
 *
 * @module
 */
import type { OnProgress } from "@lib/phases.ts";
import { z } from "zod";
import { FileReadError, loadJson, saveJson } from "@lib/files.ts";
import { bleuSignature } from "./bleu.ts";
import { chrfSignature } from "./chrf.ts";
import { compareSystems } from "./compare.ts";
import { scoreEmpathy } from "./empathy.ts";
import { type EmpathyLexicon, empathyLexicon } from "./empathy_lexicon.ts";
import type { Evaluation } from "./evaluate.ts";
import { legacyKeywordScore } from "./legacy_keyword_score.ts";
import { type EvaluationContext, EvaluationResults } from "./report.ts";
import { ROUGE_DEFINITION } from "./rouge.ts";
import { EMPATHY_CRITERIA, EMPATHY_DISCLAIMER, type EmpathyCriterion } from "./rubric.ts";
import { meanTable } from "./statistics.ts";
import { estimate } from "./system_report.ts";

/** What a reader must know before quoting a number. */
export const EVALUATION_NOTES: readonly string[] = [
  `Empathy: ${EMPATHY_DISCLAIMER}`,
  "Empathy: agreement with hand grades by criterion in tests/evaluation/AGREEMENT.md; it is too low for " +
  "interpretation to be reported by itself.",
  "Empathy: an answer that fails the safety gate scores 0; the form gate is reported apart.",
  "legacy_keyword_score: the original project's four substring checks, for comparison only; a list " +
  "of keywords scores 100 and nearly every answer gets 25 for its length.",
  "BLEU, chrF++: as sacreBLEU computes them, after NFC, removal of format characters and repair of " +
  "split vowels on both sides.",
  `ROUGE: ${ROUGE_DEFINITION}.`,
  "Perplexity: exp(sum of NLL / number of tokens) over answer tokens with the end token; comparable " +
  "only between models with one tokenizer. Bits per byte: over the text alone, comparable across " +
  "tokenizers.",
  "Intervals: 95 %, percentile bootstrap over groups. p-values: paired bootstrap as in sacreBLEU, " +
  "not corrected for the number of metrics.",
  "Semantic similarity: cosine of sentence vectors, where an encoder was at hand; read it beside the " +
  "similarity to another group's reference, which is high for any two texts of this kind.",
  "floor: the same answers held against other groups' questions and references.",
  "Not a medical device; no claim about the wellbeing of anyone follows from these numbers.",
];

/** The references under the rubric. */
function referenceReport({ items, draws }: Evaluation, lexicon: EmpathyLexicon) {
  const scores = items.map((item) => scoreEmpathy(item.question, item.reference, lexicon));
  const of = (values: readonly number[]) => estimate(meanTable(values), draws, values.length);
  const levels = Object.fromEntries(
    EMPATHY_CRITERIA.map((criterion) => [criterion, of(scores.map((s) => s.levels[criterion]))]),
  ) as Record<EmpathyCriterion, ReturnType<typeof of>>;
  return {
    empathy: of(scores.map((s) => s.score)),
    levels,
    legacy_keyword_score: of(items.map((item) => legacyKeywordScore(item.reference).score)),
  };
}

/**
 * Puts the file together.
 *
 * @param context what the answers were made with
 * @param semantic how similarity was measured, or null
 * @param onProgress called with the metrics compared, of all
 * @throws {RangeError} evaluations of different items
 */
export function evaluationResults(
  context: EvaluationContext,
  base: Evaluation,
  tuned: Evaluation,
  lexicon: EmpathyLexicon = empathyLexicon(),
  semantic: string | null = null,
  onProgress?: OnProgress,
): EvaluationResults {
  return {
    format: 1,
    ...context,
    n: base.report.n,
    groups: base.report.groups,
    notes: [...EVALUATION_NOTES],
    signatures: {
      bleu: bleuSignature(),
      bleu_1: bleuSignature({ maxOrder: 1 }),
      chrf_pp: chrfSignature(),
      rouge: ROUGE_DEFINITION,
      empathy: `rules|criteria:4|levels:0-2|lexicon:${lexicon.version}`,
      semantic,
    },
    bootstrap: {
      draws: base.draws.draws,
      seed: base.seed,
      level: 0.95,
      unit: "group",
      method: "percentile",
    },
    systems: { base: base.report, tuned: tuned.report },
    reference: referenceReport(base, lexicon),
    differences: compareSystems(base, tuned, onProgress),
  };
}

/** Writes the file, checked against its schema first. */
export async function saveEvaluationResults(
  path: string,
  results: EvaluationResults,
): Promise<void> {
  await saveJson(path, EvaluationResults.parse(results));
}

/** Reads it. @throws {FileReadError} missing, not JSON, or of another shape */
export async function loadEvaluationResults(path: string): Promise<EvaluationResults> {
  const hint = "Run 05_metrics (deno task evaluate) again.";
  const parsed = EvaluationResults.safeParse(await loadJson(path, hint));
  if (parsed.success) return parsed.data;
  throw new FileReadError(`${path}: ${z.prettifyError(parsed.error)}. ${hint}`);
}
