/**
 * ROUGE-1, ROUGE-2 and ROUGE-L F1 (Lin 2004) over Bengali tokens, macro-averaged, 0..1.
 *
 * Tokens are runs of letters, marks and digits after NFC, removal of format characters and lower
 * case. This is not google's rouge_score, whose tokeniser keeps only [a-z0-9] and so drops every
 * Bengali letter: under it all Bengali text scores 0.
 *
 * @module
 */
import { ngramMatches, ngramTotal } from "./ngrams.ts";
import { checkPaired } from "./pairs.ts";
import { meanTable, type MetricTable, scoreOf } from "./statistics.ts";

/** What the scores are, for reports. */
export const ROUGE_DEFINITION =
  "ROUGE F1, macro mean, tokens [\\p{L}\\p{M}\\p{N}]+ after NFC, Cf removal and lower case, no " +
  "stemming; not google rouge_score, whose tokeniser drops Bengali letters";

/** The three variants. */
export const ROUGE_VARIANTS = ["rouge1", "rouge2", "rougeL"] as const;
export type RougeVariant = (typeof ROUGE_VARIANTS)[number];
/** F1 by variant, 0..1. */
export type RougeScores = Readonly<Record<RougeVariant, number>>;

/** The tokens that ROUGE and the diversity measures count. */
export function rougeTokens(text: string): string[] {
  const key = text.normalize("NFC").replace(/\p{Cf}/gu, "").toLowerCase();
  return key.match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
}

function f1(matches: number, hypothesis: number, reference: number): number {
  return matches === 0 ? 0 : 2 * matches / (hypothesis + reference);
}

/** Length of the longest common subsequence. */
function commonSubsequence(a: readonly string[], b: readonly string[]): number {
  let previous = new Uint32Array(b.length + 1);
  let current = new Uint32Array(b.length + 1);
  for (const token of a) {
    b.forEach((other, j) => {
      current[j + 1] = token === other
        ? (previous[j] ?? 0) + 1
        : Math.max(previous[j + 1] ?? 0, current[j] ?? 0);
    });
    [previous, current] = [current, previous];
  }
  return previous[b.length] ?? 0;
}

/** ROUGE of one pair. A text too short for an order scores 0 in it, unless both sides are equal. */
export function rougePair(hypothesis: string, reference: string): RougeScores {
  const hyp = rougeTokens(hypothesis);
  const ref = rougeTokens(reference);
  const same = hyp.length > 0 && hyp.length === ref.length && hyp.every((t, i) => t === ref[i]);
  if (same) return { rouge1: 1, rouge2: 1, rougeL: 1 };
  const [ones = 0, twos = 0] = ngramMatches(hyp, ref, 2);
  return {
    rouge1: f1(ones, hyp.length, ref.length),
    rouge2: f1(twos, ngramTotal(hyp.length, 2), ngramTotal(ref.length, 2)),
    rougeL: f1(commonSubsequence(hyp, ref), hyp.length, ref.length),
  };
}

/** One table a variant; the score is the macro mean. */
export function rougeTables(
  hypotheses: readonly string[],
  references: readonly string[],
): Readonly<Record<RougeVariant, MetricTable>> {
  checkPaired("ROUGE", hypotheses, references);
  const pairs = hypotheses.map((hyp, i) => rougePair(hyp, references[i] ?? ""));
  return {
    rouge1: meanTable(pairs.map((pair) => pair.rouge1)),
    rouge2: meanTable(pairs.map((pair) => pair.rouge2)),
    rougeL: meanTable(pairs.map((pair) => pair.rougeL)),
  };
}

/**
 * Macro means over all pairs.
 *
 * @throws {RangeError} no pairs, or as many references as hypotheses are needed
 *
 * @example
 * ```ts
 * import { rouge } from "@lib/evaluation/rouge.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(rouge(["মন ভালো নেই"], ["মন খারাপ"]).rouge1, 0.4);
 * ```
 */
export function rouge(hypotheses: readonly string[], references: readonly string[]): RougeScores {
  const tables = rougeTables(hypotheses, references);
  return {
    rouge1: scoreOf(tables.rouge1),
    rouge2: scoreOf(tables.rouge2),
    rougeL: scoreOf(tables.rougeL),
  };
}
