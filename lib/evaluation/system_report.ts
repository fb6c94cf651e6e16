/**
 * From scored answers to the report of one system.
 *
 * @module
 */
import type { OnProgress } from "@lib/phases.ts";
import { bleu, bleuOfSums } from "./bleu.ts";
import { bootstrapInterval, type Draws } from "./bootstrap.ts";
import { chrf } from "./chrf.ts";
import { distinctN } from "./degeneracy.ts";
import { scoreEmpathy } from "./empathy.ts";
import { FORM_CHECKS } from "./empathy_gates.ts";
import type { EmpathyLexicon } from "./empathy_lexicon.ts";
import { forEachMetric, type MetricId } from "./metric_ids.ts";
import { metricText } from "./metric_text.ts";
import type { Estimate, FloorReport, ItemReport, SystemReport } from "./report.ts";
import { rouge } from "./rouge.ts";
import type { EmpathyCriterion, EmpathyLevel } from "./rubric.ts";
import { measuredItems, type ScoredItem } from "./scored_item.ts";
import { type MetricTable, rowScore } from "./statistics.ts";

/** JSON knows no NaN. */
export function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** A metric with its interval, as JSON has it. */
export function estimate(table: MetricTable, draws: Draws, n: number): Estimate {
  if (n === 0) return { value: null, low: null, high: null, n };
  const { value, low, high } = bootstrapInterval(table, draws);
  return { value: finiteOrNull(value), low: finiteOrNull(low), high: finiteOrNull(high), n };
}

function itemReport(
  item: ScoredItem,
  place: number,
  tables: Readonly<Record<MetricId, MetricTable>>,
): ItemReport {
  const sentence = { ...tables.bleu, score: bleuOfSums({ effectiveOrder: true }) };
  const { form, safety } = item.empathy;
  return {
    id: item.id ?? place,
    group: item.group,
    bleu: rowScore(sentence, place),
    chrf_pp: rowScore(tables.chrf_pp, place),
    rouge_1: rowScore(tables.rouge_1, place),
    rouge_2: rowScore(tables.rouge_2, place),
    rouge_l: rowScore(tables.rouge_l, place),
    empathy: item.empathy.score,
    levels: item.empathy.levels,
    legacy_keyword_score: item.legacy.score,
    form: form.pass,
    safety: safety.pass,
    failed: [
      ...FORM_CHECKS.filter((check) => !form.checks[check]),
      ...new Set(safety.violations.map(({ kind }) => kind)),
    ],
    words: item.words,
    nll: item.likelihood?.nll ?? null,
    tokens: item.likelihood?.tokens ?? null,
    text_nll: item.likelihood?.textNll ?? null,
    semantic: item.similarity?.reference ?? null,
    semantic_floor: item.similarity?.floor ?? null,
  };
}

/** The first item from a place on, wrapping around, that is of another group. */
function someOtherGroup(
  items: readonly ScoredItem[],
  item: ScoredItem,
  from: number,
): ScoredItem | undefined {
  for (let step = 0; step < items.length; step++) {
    const other = items[(from + step) % items.length];
    if (other !== undefined && other.group !== item.group) return other;
  }
  return undefined;
}

/**
 * Scores of the same answers held against another group's question and reference: what fluent but
 * unrelated text gets. A system near its floor does not listen.
 */
function floorReport(
  items: readonly ScoredItem[],
  lexicon: EmpathyLexicon | undefined,
  textOf: (text: string) => string,
): FloorReport | null {
  const pairs = items.flatMap((item, i) => {
    const other = someOtherGroup(items, item, i + Math.floor(items.length / 2));
    return other === undefined ? [] : [{ item, other }];
  });
  if (pairs.length === 0) return null;
  const hyps = pairs.map(({ item }) => textOf(item.hypothesis));
  const refs = pairs.map(({ other }) => textOf(other.reference));
  const empathy = pairs.map(({ item, other }) =>
    scoreEmpathy(other.question, item.hypothesis, lexicon).score
  );
  return {
    bleu: bleu(hyps, refs).score,
    chrf_pp: chrf(hyps, refs).score,
    rouge_l: rouge(hyps, refs).rougeL,
    empathy: empathy.reduce((sum, score) => sum + score, 0) / empathy.length,
  };
}

function levelCounts(items: readonly ScoredItem[], criterion: EmpathyCriterion) {
  const count = (level: EmpathyLevel): number =>
    items.filter((item) => item.empathy.levels[criterion] === level).length;
  return [count(0), count(1), count(2)] as [number, number, number];
}

function violationCounts(items: readonly ScoredItem[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { empathy } of items) {
    for (const kind of new Set(empathy.safety.violations.map((one) => one.kind))) {
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
  }
  return counts;
}

/** What a report may be told. */
export interface SystemReportOptions {
  /** Another lexicon for the empathy proxy. @default {the embedded one} */
  readonly lexicon?: EmpathyLexicon | undefined;
  /** What both sides of the floor's overlap metrics pass first. @default {metricText} */
  readonly textOf?: (text: string) => string;
  /** Called with the metrics done, of all. */
  readonly onProgress?: OnProgress;
}

/** The report of one system. */
export function systemReport(
  items: readonly ScoredItem[],
  tables: Readonly<Record<MetricId, MetricTable>>,
  draws: Draws,
  options: SystemReportOptions = {},
): SystemReport {
  const { lexicon, textOf = metricText, onProgress } = options;
  const answers = items.map((item) => metricText(item.hypothesis));
  const passed = (check: typeof FORM_CHECKS[number]): number =>
    items.filter((item) => item.empathy.form.checks[check]).length / items.length;
  return {
    n: items.length,
    groups: draws.groups,
    metrics: forEachMetric(
      (id) => estimate(tables[id], draws, measuredItems(id, items)),
      onProgress,
    ),
    level_counts: {
      reaction: levelCounts(items, "reaction"),
      interpretation: levelCounts(items, "interpretation"),
      exploration: levelCounts(items, "exploration"),
      support: levelCounts(items, "support"),
    },
    form_checks: Object.fromEntries(FORM_CHECKS.map((check) => [check, passed(check)])),
    safety_violations: violationCounts(items),
    distinct_1: distinctN(answers, 1),
    distinct_2: distinctN(answers, 2),
    floor: floorReport(items, lexicon, textOf),
    items: items.map((item, i) => itemReport(item, i, tables)),
  };
}
