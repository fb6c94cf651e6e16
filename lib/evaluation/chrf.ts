/**
 * chrF (Popović 2015) and chrF++ (Popović 2017) as sacreBLEU 2.6 computes them, 0..100.
 *
 * F_β over character n-grams of orders 1..6 and word n-grams of orders 1..`wordOrder`, β = 2:
 * precision and recall are averaged over the orders that both sides are long enough for.
 *
 * @module
 */
import { SACREBLEU_VERSION } from "./bleu.ts";
import { codePoints, ngramMatches, ngramTotal, splitFields } from "./ngrams.ts";
import { checkPaired } from "./pairs.ts";
import { type MetricTable, scoreOf, statisticsOf } from "./statistics.ts";

/** How chrF is computed. */
export interface ChrfOptions {
  /** @default {6} */
  readonly charOrder?: number;
  /** 0 is chrF, 2 is chrF++. @default {2} */
  readonly wordOrder?: number;
  /** How much more recall weighs than precision. @default {2} */
  readonly beta?: number;
}

/** A chrF score. */
export interface ChrfScore {
  /** 0..100. */
  readonly score: number;
  /** `chrF2`, or `chrF2++` with words. */
  readonly name: string;
  /** The signature line exactly as sacreBLEU prints it. */
  readonly signature: string;
}

const ASCII_PUNCTUATION = new Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");

/** Words with one ASCII punctuation mark split off at the end or else at the beginning. */
function chrfWords(line: string): string[] {
  return splitFields(line).flatMap((word) => {
    const points = Array.from(word);
    if (points.length === 1) return [word];
    if (ASCII_PUNCTUATION.has(points.at(-1) ?? "")) return [word.slice(0, -1), word.slice(-1)];
    if (ASCII_PUNCTUATION.has(points[0] ?? "")) return [word.slice(0, 1), word.slice(1)];
    return [word];
  });
}

/** Hypothesis count, reference count and matches for orders 1..`maxOrder`. */
function orderCounts(hyp: readonly string[], ref: readonly string[], maxOrder: number): number[] {
  if (maxOrder === 0) return [];
  return ngramMatches(hyp, ref, maxOrder).flatMap((matches, n) => {
    const refs = ngramTotal(ref.length, n + 1);
    // An order that the reference is too short for counts no hypothesis n-grams.
    return [refs === 0 ? 0 : ngramTotal(hyp.length, n + 1), refs, matches];
  });
}

/** Statistics of one pair: characters, then words. */
function chrfRow(hypothesis: string, reference: string, charOrder: number, wordOrder: number) {
  return [
    ...orderCounts(codePoints(hypothesis), codePoints(reference), charOrder),
    ...orderCounts(chrfWords(hypothesis), chrfWords(reference), wordOrder),
  ];
}

function chrfScore(sums: Float64Array, beta: number): number {
  let precision = 0;
  let recall = 0;
  let orders = 0;
  for (let i = 0; i < sums.length; i += 3) {
    const hyp = sums[i] ?? 0;
    const ref = sums[i + 1] ?? 0;
    const match = sums[i + 2] ?? 0;
    if (hyp === 0 || ref === 0) continue;
    precision += match / hyp;
    recall += match / ref;
    orders++;
  }
  if (precision + recall === 0) return 0;
  precision /= orders;
  recall /= orders;
  const factor = beta ** 2;
  return 100 * (1 + factor) * precision * recall / (factor * precision + recall);
}

/**
 * chrF's statistics, one row a pair; their sum over any selection of items gives its corpus score.
 *
 * @throws {RangeError} as many references as hypotheses are needed
 */
export function chrfTable(
  hypotheses: readonly string[],
  references: readonly string[],
  options: ChrfOptions = {},
): MetricTable {
  checkPaired("chrF", hypotheses, references);
  const { charOrder = 6, wordOrder = 2, beta = 2 } = options;
  const rows = hypotheses.map((hyp, i) => chrfRow(hyp, references[i] ?? "", charOrder, wordOrder));
  return {
    statistics: statisticsOf(rows, 3 * (charOrder + wordOrder)),
    score: (sums) => chrfScore(sums, beta),
  };
}

/** sacreBLEU's signature of these options. */
export function chrfSignature(options: ChrfOptions = {}): string {
  const { charOrder = 6, wordOrder = 2 } = options;
  return `nrefs:1|case:mixed|eff:yes|nc:${charOrder}|nw:${wordOrder}|space:no|` +
    `version:${SACREBLEU_VERSION}`;
}

/**
 * Corpus chrF++ (chrF with `wordOrder: 0`). Text is taken as it is: apply `metricText` first.
 *
 * @throws {RangeError} no pairs, or as many references as hypotheses are needed
 *
 * @example
 * ```ts
 * import { chrf } from "@lib/evaluation/chrf.ts";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(chrf(["মন ভালো নেই।"], ["মন ভালো নেই।"]).score, 100);
 * ```
 */
export function chrf(
  hypotheses: readonly string[],
  references: readonly string[],
  options: ChrfOptions = {},
): ChrfScore {
  const { wordOrder = 2, beta = 2 } = options;
  return {
    score: scoreOf(chrfTable(hypotheses, references, options)),
    name: `chrF${beta}${"+".repeat(wordOrder)}`,
    signature: chrfSignature(options),
  };
}
