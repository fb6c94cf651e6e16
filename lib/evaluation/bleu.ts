/**
 * Corpus BLEU (Papineni et al. 2002) as sacreBLEU 2.6 computes it, 0..100, one reference.
 *
 * BLEU = BP · exp(Σₙ ln pₙ / N), pₙ = matches of order n / n-grams of the hypothesis, both summed over
 * the corpus; BP = exp(1 − ref/hyp) when the hypotheses are shorter. Smoothing `exp` (NIST): the k-th
 * order without a match gets pₙ = 1 / (2ᵏ · totalₙ).
 *
 * @module
 */
import { type BleuTokenizer, bleuTokens } from "./bleu_tokenizers.ts";
import { ngramMatches, ngramTotal, trimEndFields } from "./ngrams.ts";
import { checkPaired } from "./pairs.ts";
import { type MetricTable, type ScoreOfSums, statisticsOf, sumRows } from "./statistics.ts";

/** The sacreBLEU version whose numbers and signatures these are. */
export const SACREBLEU_VERSION = "2.6.0";

/** How BLEU is computed. */
export interface BleuOptions {
  /** @default {"intl"} */
  readonly tokenize?: BleuTokenizer;
  /** 1 for BLEU-1. @default {4} */
  readonly maxOrder?: number;
  /** Average over the orders that the hypothesis is long enough for. @default {false} */
  readonly effectiveOrder?: boolean;
}

/** A BLEU score with what it is made of. */
export interface BleuScore {
  /** 0..100. */
  readonly score: number;
  /** Percent, by order. */
  readonly precisions: readonly number[];
  readonly brevityPenalty: number;
  readonly hypothesisLength: number;
  readonly referenceLength: number;
  /** The signature line exactly as sacreBLEU prints it. */
  readonly signature: string;
}

/** Statistics of one pair: `[hypothesis length, reference length, matches…, totals…]`. */
function bleuRow(hypothesis: string, reference: string, options: BleuOptions): number[] {
  const { tokenize = "intl", maxOrder = 4 } = options;
  const hyp = bleuTokens(trimEndFields(hypothesis), tokenize);
  const ref = bleuTokens(trimEndFields(reference), tokenize);
  const matches = ngramMatches(hyp, ref, maxOrder);
  const totals = matches.map((_, n) => ngramTotal(hyp.length, n + 1));
  return [hyp.length, ref.length, ...matches, ...totals];
}

/** The parts of BLEU from summed statistics. */
function bleuParts(sums: Float64Array, maxOrder: number, effectiveOrder: boolean) {
  const [hyp = 0, ref = 0] = sums;
  const brevityPenalty = hyp >= ref ? 1 : hyp > 0 ? Math.exp(1 - ref / hyp) : 0;
  const precisions = new Array<number>(maxOrder).fill(0);
  const matches = sums.subarray(2, 2 + maxOrder);
  const totals = sums.subarray(2 + maxOrder, 2 + 2 * maxOrder);
  if (matches.every((count) => count === 0)) return { score: 0, precisions, brevityPenalty };
  let order = maxOrder;
  let smoothing = 1;
  for (let n = 0; n < maxOrder; n++) {
    const total = totals[n] ?? 0;
    const match = matches[n] ?? 0;
    if (total === 0) break;
    if (effectiveOrder) order = n + 1;
    if (match === 0) smoothing *= 2;
    precisions[n] = match === 0 ? 100 / (smoothing * total) : 100 * match / total;
  }
  // An order without n-grams has precision 0; sacreBLEU floors its logarithm, which makes BLEU 0.
  const logs = precisions.slice(0, order).map((p) => p === 0 ? -9999999999 : Math.log(p));
  const score = brevityPenalty * Math.exp(logs.reduce((a, b) => a + b, 0) / order);
  return { score, precisions, brevityPenalty };
}

/** What turns summed BLEU statistics into the score. */
export function bleuOfSums(options: BleuOptions = {}): ScoreOfSums {
  const { maxOrder = 4, effectiveOrder = false } = options;
  return (sums) => bleuParts(sums, maxOrder, effectiveOrder).score;
}

/**
 * BLEU's statistics, one row a pair; their sum over any selection of items gives its corpus BLEU.
 *
 * @throws {RangeError} as many references as hypotheses are needed
 */
export function bleuTable(
  hypotheses: readonly string[],
  references: readonly string[],
  options: BleuOptions = {},
): MetricTable {
  checkPaired("BLEU", hypotheses, references);
  const { maxOrder = 4 } = options;
  const rows = hypotheses.map((hyp, i) => bleuRow(hyp, references[i] ?? "", options));
  return {
    statistics: statisticsOf(rows, 2 + 2 * maxOrder),
    score: bleuOfSums(options),
  };
}

/** sacreBLEU's signature of these options; the order is not part of it. */
export function bleuSignature(options: BleuOptions = {}): string {
  const { tokenize = "intl", effectiveOrder = false } = options;
  return `nrefs:1|case:mixed|eff:${effectiveOrder ? "yes" : "no"}|tok:${tokenize}|smooth:exp|` +
    `version:${SACREBLEU_VERSION}`;
}

/**
 * Corpus BLEU. Text is taken as it is: apply `metricText` to both sides first when spellings differ.
 *
 * @throws {RangeError} no pairs, or as many references as hypotheses are needed
 *
 * @example
 * ```ts
 * import { bleu } from "@lib/evaluation/bleu.ts";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(bleu(["আজ মন ভালো নেই।"], ["আজ মন ভালো নেই।"]).score, 100);
 * ```
 */
export function bleu(
  hypotheses: readonly string[],
  references: readonly string[],
  options: BleuOptions = {},
): BleuScore {
  const { maxOrder = 4, effectiveOrder = false } = options;
  const sums = sumRows(bleuTable(hypotheses, references, options).statistics);
  return {
    ...bleuParts(sums, maxOrder, effectiveOrder),
    hypothesisLength: sums[0] ?? 0,
    referenceLength: sums[1] ?? 0,
    signature: bleuSignature(options),
  };
}
