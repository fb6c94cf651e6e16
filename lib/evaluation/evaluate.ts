/**
 * All metrics of one system's answers, with intervals.
 *
 * Both sides of every overlap metric pass `metricText` first; BLEU and chrF++ then equal sacreBLEU on
 * those texts. Likelihoods are measured elsewhere and handed in.
 *
 * @module
 */
import { type OnProgress, partOf } from "@lib/phases.ts";
import { words } from "@lib/corpus/text_key.ts";
import { bleuTable } from "./bleu.ts";
import { BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, drawGroups, type Draws } from "./bootstrap.ts";
import { chrfTable } from "./chrf.ts";
import { answerSigns, degeneracyTables } from "./degeneracy.ts";
import { scoreEmpathy } from "./empathy.ts";
import type { EmpathyLexicon } from "./empathy_lexicon.ts";
import { legacyKeywordScore } from "./legacy_keyword_score.ts";
import type { MetricId } from "./metric_ids.ts";
import { metricText } from "./metric_text.ts";
import { bitsPerByteTable, perplexityTable } from "./perplexity.ts";
import type { SystemReport } from "./report.ts";
import { rougeTables } from "./rouge.ts";
import type { EmpathyCriterion } from "./rubric.ts";
import type { EvaluationItem, ScoredItem } from "./scored_item.ts";
import { meanTable, type MetricTable } from "./statistics.ts";
import { systemReport } from "./system_report.ts";

/** How to evaluate. */
export interface EvaluateOptions {
  /** @default {1000} */
  readonly draws?: number;
  /** @default {12345} */
  readonly seed?: number;
  /** Another lexicon for the empathy proxy. @default {the embedded one} */
  readonly lexicon?: EmpathyLexicon;
  /** `metricText` on both sides before overlap; without it BLEU and chrF++ are sacreBLEU's on the raw text. @default {true} */
  readonly normalize?: boolean;
  /** Called with the answers done, of all; each is scored, then its intervals are drawn. */
  readonly onProgress?: OnProgress | undefined;
}

/** Share of the work that is scoring answers; the rest is tables and intervals. */
const SCORING = 0.6;

/** What both sides of an overlap metric pass first. */
type TextOf = (text: string) => string;

/** One system's evaluation: the report, and what a comparison needs. */
export interface Evaluation {
  readonly report: SystemReport;
  readonly items: readonly ScoredItem[];
  readonly tables: Readonly<Record<MetricId, MetricTable>>;
  readonly draws: Draws;
  readonly seed: number;
}

function scoreItem(item: EvaluationItem, lexicon: EmpathyLexicon | undefined): ScoredItem {
  return {
    ...item,
    empathy: scoreEmpathy(item.question, item.hypothesis, lexicon),
    legacy: legacyKeywordScore(item.hypothesis),
    signs: answerSigns(item.hypothesis, item.finish ?? null),
    words: words(item.hypothesis).length,
  };
}

/** Overlap with the references. */
function overlapTables(items: readonly EvaluationItem[], textOf: TextOf) {
  const hyps = items.map((item) => textOf(item.hypothesis));
  const refs = items.map((item) => textOf(item.reference));
  const rouge = rougeTables(hyps, refs);
  return {
    bleu: bleuTable(hyps, refs),
    bleu_1: bleuTable(hyps, refs, { maxOrder: 1 }),
    chrf_pp: chrfTable(hyps, refs),
    rouge_1: rouge.rouge1,
    rouge_2: rouge.rouge2,
    rouge_l: rouge.rougeL,
  };
}

function empathyTables(items: readonly ScoredItem[]) {
  const levels = (criterion: EmpathyCriterion): MetricTable =>
    meanTable(items.map((item) => item.empathy.levels[criterion]));
  return {
    empathy: meanTable(items.map((item) => item.empathy.score)),
    empathy_reaction: levels("reaction"),
    empathy_interpretation: levels("interpretation"),
    empathy_exploration: levels("exploration"),
    empathy_support: levels("support"),
    legacy_keyword_score: meanTable(items.map((item) => item.legacy.score)),
    gate_form: meanTable(items.map((item) => Number(item.empathy.form.pass))),
    gate_safety: meanTable(items.map((item) => Number(item.empathy.safety.pass))),
  };
}

function tablesOf(items: readonly ScoredItem[], textOf: TextOf): Record<MetricId, MetricTable> {
  const likelihoods = items.map((item) => item.likelihood ?? null);
  const signs = degeneracyTables(items.map((item) => item.signs));
  return {
    perplexity: perplexityTable(likelihoods),
    bits_per_byte: bitsPerByteTable(likelihoods, items.map((item) => item.reference)),
    ...overlapTables(items, textOf),
    semantic: meanTable(items.map(({ similarity }) => similarity?.reference ?? null)),
    semantic_floor: meanTable(items.map(({ similarity }) => similarity?.floor ?? null)),
    ...empathyTables(items),
    ends_in_terminal: signs.terminal,
    hit_cap: signs.capped,
    has_replacement: signs.replacement,
    repeats_four_gram: signs.repeatedFourGram,
    non_bengali: signs.nonBengali,
    empty: signs.empty,
    answer_words: meanTable(items.map((item) => item.words)),
  };
}

/**
 * Measures one system's answers.
 *
 * @throws {RangeError} no items, or fewer than 100 draws
 *
 * @example
 * ```ts
 * import { evaluateAnswers } from "@lib/evaluation/evaluate.ts";
 * import { assertEquals } from "@std/assert";
 * const text = "আপনার কথা শুনে সত্যিই খারাপ লাগছে।";
 * const { report } = evaluateAnswers([
 *   { group: 1, question: "মন ভালো নেই।", reference: text, hypothesis: text, finish: "stop" },
 *   { group: 2, question: "একা লাগে।", reference: text, hypothesis: "", finish: "length" },
 * ]);
 * assertEquals(report.metrics.rouge_l.value, 0.5);
 * assertEquals(report.metrics.hit_cap.value, 0.5);
 * ```
 */
export function evaluateAnswers(
  items: readonly EvaluationItem[],
  options: EvaluateOptions = {},
): Evaluation {
  if (items.length === 0) {
    throw new RangeError(
      "Cannot evaluate: expected at least one answer, found none. Generate answers first.",
    );
  }
  const { draws: count = BOOTSTRAP_DRAWS, seed = BOOTSTRAP_SEED, lexicon } = options;
  const { normalize = true, onProgress } = options;
  const textOf: TextOf = normalize ? metricText : (text) => text;
  const draws = drawGroups(items.map((item) => item.group), { draws: count, seed });
  const [scoring, drawing] = [partOf(onProgress, 0, SCORING), partOf(onProgress, SCORING, 1)];
  const scored = items.map((item, i) => {
    scoring?.(i, items.length);
    return scoreItem(item, lexicon);
  });
  const tables = tablesOf(scored, textOf);
  return {
    report: systemReport(scored, tables, draws, {
      lexicon,
      textOf,
      onProgress: (done, metrics) => drawing?.(items.length * done / metrics, items.length),
    }),
    items: scored,
    tables,
    draws,
    seed,
  };
}
