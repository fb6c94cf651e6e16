/**
 * Scores answers of any systems, ours or not, and compares them.
 *
 * @module
 */
import { type OnPhase, type OnProgress, phaseOf } from "@lib/phases.ts";
import { bleuSignature, bleuTable } from "./bleu.ts";
import type { BleuTokenizer } from "./bleu_tokenizers.ts";
import { BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, type DrawOptions } from "./bootstrap.ts";
import { chrfSignature } from "./chrf.ts";
import { compareSystems } from "./compare.ts";
import { empathyLexicon } from "./empathy_lexicon.ts";
import { evaluateAnswers, type Evaluation } from "./evaluate.ts";
import { forEachMetric, type MetricId } from "./metric_ids.ts";
import { metricText } from "./metric_text.ts";
import type { BootstrapSettings, Estimate, SystemReport } from "./report.ts";
import { EVALUATION_NOTES } from "./results.ts";
import { ROUGE_DEFINITION } from "./rouge.ts";
import { estimate } from "./system_report.ts";
import type { ItemSimilarity } from "./semantic.ts";
import { type AlignedSystems, alignSystems, type PairSource } from "./systems.ts";

/** How to score. */
export interface ScoreOptions extends DrawOptions {
  /** `metricText` on both sides first; without it, sacreBLEU's scores of the raw text. @default {true} */
  readonly normalize?: boolean;
  /** BLEU with further tokenisers, beside `intl`. @default {[]} */
  readonly tokenizers?: readonly BleuTokenizer[];
  /** Semantic similarities by system, as `measureSimilarity` gives them, and how they were measured. */
  readonly semantic?: {
    readonly similarities: ReadonlyMap<string, readonly ItemSimilarity[]>;
    readonly signature: string;
  };
  /** The system that the others are compared with. @default the first */
  readonly baseline?: string;
  /** Told which system is being scored or compared, and how far that is. */
  readonly onPhase?: OnPhase | undefined;
}

/** One system's scores. */
export interface SystemScores {
  readonly name: string;
  readonly report: SystemReport;
  /** BLEU by further tokeniser. */
  readonly bleu: readonly BleuVariant[];
}

/** BLEU with another tokeniser. */
export interface BleuVariant extends Estimate {
  readonly tokenizer: BleuTokenizer;
  readonly signature: string;
}

/** One metric of a system against the baseline, on the same draws. */
export interface ScoreDifference {
  readonly baseline: number | null;
  readonly system: number | null;
  /** system − baseline, with its interval. */
  readonly difference: number | null;
  readonly low: number | null;
  readonly high: number | null;
  /** Paired bootstrap, two-sided, as sacreBLEU defines it; not corrected for many metrics. */
  readonly p_value: number | null;
  readonly n: number;
}

/** A system against the baseline. */
export interface SystemDifferences {
  readonly baseline: string;
  readonly system: string;
  readonly metrics: Readonly<Record<MetricId, ScoreDifference>>;
}

/** Everything measured. */
export interface ScoreReport {
  readonly format: 1;
  /** Items a system. */
  readonly n: number;
  readonly groups: number;
  readonly notes: readonly string[];
  readonly signatures: Readonly<Record<string, string>>;
  readonly bootstrap: BootstrapSettings;
  readonly systems: readonly SystemScores[];
  readonly differences: readonly SystemDifferences[];
}

/** An option that names what is not there. */
export class ScoreError extends Error {
  override readonly name = "ScoreError";
}

function bleuVariant(
  { items, draws }: Evaluation,
  tokenizer: BleuTokenizer,
  normalize: boolean,
): BleuVariant {
  const textOf = normalize ? metricText : (text: string) => text;
  const table = bleuTable(
    items.map(({ hypothesis }) => textOf(hypothesis)),
    items.map(({ reference }) => textOf(reference)),
    { tokenize: tokenizer },
  );
  const signature = bleuSignature({ tokenize: tokenizer });
  return { tokenizer, signature, ...estimate(table, draws, items.length) };
}

/**
 * A system against the baseline, metric by metric, on the same draws.
 *
 * @throws {RangeError} evaluations of different items, seeds or numbers of draws
 */
export function systemDifferences(
  baseline: string,
  system: string,
  before: Evaluation,
  after: Evaluation,
  onProgress?: OnProgress,
): SystemDifferences {
  const compared = compareSystems(before, after, onProgress);
  const metrics = forEachMetric((id) => {
    const { base, tuned, ...rest } = compared[id];
    return { baseline: base, system: tuned, ...rest };
  });
  return { baseline, system, metrics };
}

function notesOf(
  { unmatched, withoutPrompt }: AlignedSystems,
  n: number,
  normalize: boolean,
  semantic: boolean,
) {
  return [
    ...unmatched === 0 ? [] : [
      `${unmatched} lines were left out: not every system has an item of their id.`,
    ],
    ...withoutPrompt === 0 ? [] : [
      `${withoutPrompt} of ${n} items have no prompt: without the question the empathy proxy can ` +
      "hardly tell a specific answer from a generic one.",
    ],
    ...EVALUATION_NOTES.filter((note) =>
      !note.startsWith("Perplexity") && (semantic || !note.startsWith("Semantic")) &&
      (normalize || !note.startsWith("BLEU, chrF++"))
    ),
    ...normalize ? [] : ["BLEU, chrF++: sacreBLEU's on the raw text, nothing normalised."],
  ];
}

/**
 * Scores every system of the sources and compares each with the baseline.
 *
 * @throws {PairFileError} systems whose items cannot be matched
 * @throws {ScoreError} a baseline that is no system
 *
 * @example
 * ```ts
 * import { scoreSystems } from "@lib/evaluation/score.ts";
 * import { assertEquals } from "@std/assert";
 * const reference = "শুনে খারাপ লাগছে।";
 * const { systems } = scoreSystems([
 *   { name: "mine", pairs: [{ hypothesis: reference, reference, prompt: "মন ভালো নেই।" }] },
 * ]);
 * assertEquals(systems[0]?.report.metrics.rouge_l.value, 1);
 * ```
 */
export function scoreSystems(
  sources: readonly PairSource[],
  options: ScoreOptions = {},
): ScoreReport {
  const { normalize = true, tokenizers = [] } = options;
  const { draws = BOOTSTRAP_DRAWS, seed = BOOTSTRAP_SEED } = options;
  const aligned = alignSystems(sources);
  const names = aligned.systems.map(({ name }) => name);
  const baseline = options.baseline ?? names[0] ?? "";
  if (!names.includes(baseline)) {
    throw new ScoreError(`baseline: expected one of ${names.join(", ")}, found '${baseline}'.`);
  }
  const evaluations = new Map(
    aligned.systems.map(({ name, items }) => {
      const similar = options.semantic?.similarities.get(name);
      const measured = items.map((item, i) => ({ ...item, similarity: similar?.[i] ?? null }));
      const onProgress = phaseOf(options.onPhase, `scoring ${name}`);
      return [name, evaluateAnswers(measured, { draws, seed, normalize, onProgress })];
    }),
  );
  const before = evaluations.get(baseline)!;
  const { n, groups } = before.report;
  return {
    format: 1,
    n,
    groups,
    notes: notesOf(aligned, n, normalize, options.semantic !== undefined),
    signatures: {
      bleu: bleuSignature(),
      bleu_1: bleuSignature({ maxOrder: 1 }),
      chrf_pp: chrfSignature(),
      rouge: ROUGE_DEFINITION,
      empathy: `rules|criteria:4|levels:0-2|lexicon:${empathyLexicon().version}`,
      ...options.semantic === undefined ? {} : { semantic: options.semantic.signature },
    },
    bootstrap: { draws, seed, level: 0.95, unit: "group", method: "percentile" },
    systems: [...evaluations].map(([name, evaluation]) => ({
      name,
      report: evaluation.report,
      bleu: tokenizers.map((tokenizer) => bleuVariant(evaluation, tokenizer, normalize)),
    })),
    differences: [...evaluations].filter(([name]) => name !== baseline)
      .map(([name, evaluation]) => {
        const onProgress = phaseOf(options.onPhase, `comparing ${name}`, "metrics");
        return systemDifferences(baseline, name, before, evaluation, onProgress);
      }),
  };
}
