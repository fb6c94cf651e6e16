/**
 * Perplexity and bits per byte with intervals, over measured likelihoods.
 *
 * Perplexity = exp(ΣNLL / ΣN), N the answer tokens with the end token: comparable only under one
 * tokenizer. Bits per byte = ΣNLL / (ln 2 · UTF-8 bytes), over the text alone without the end token:
 * comparable across tokenizers.
 *
 * @module
 */
import type { SampleLikelihood } from "./likelihood.ts";
import { type MetricTable, statisticsOf } from "./statistics.ts";

/** What one item's likelihood was measured on; null where it was not measured. */
export type ItemLikelihood = Omit<SampleLikelihood, "id"> | null;

/** Number of bytes of a text in UTF-8. */
export function utf8Bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/**
 * Perplexity over answer tokens and the end token, micro-averaged. Items without a likelihood are
 * left out.
 *
 * @example
 * ```ts
 * import { perplexityTable } from "@lib/evaluation/perplexity.ts";
 * import { scoreOf } from "@lib/evaluation/statistics.ts";
 * import { assertAlmostEquals } from "@std/assert";
 * const table = perplexityTable([{ nll: 4, tokens: 2, textNll: 3 }, null]);
 * assertAlmostEquals(scoreOf(table), Math.exp(2));
 * ```
 */
export function perplexityTable(likelihoods: readonly ItemLikelihood[]): MetricTable {
  const rows = likelihoods.map((item) => item === null ? [0, 0] : [item.nll, item.tokens]);
  return {
    statistics: statisticsOf(rows, 2),
    score: (sums) => Math.exp((sums[0] ?? 0) / (sums[1] ?? 0)),
  };
}

/**
 * Bits per UTF-8 byte of the text, end token left out. Items without a likelihood are left out.
 *
 * @param texts what each likelihood was measured on
 * @throws {RangeError} as many texts as likelihoods are needed
 */
export function bitsPerByteTable(
  likelihoods: readonly ItemLikelihood[],
  texts: readonly string[],
): MetricTable {
  if (likelihoods.length !== texts.length) {
    throw new RangeError(
      `Cannot compute bits per byte: expected one text a likelihood, found ` +
        `${likelihoods.length} likelihoods and ${texts.length} texts.`,
    );
  }
  const rows = likelihoods.map((item, i) =>
    item === null ? [0, 0] : [item.textNll, utf8Bytes(texts[i] ?? "")]
  );
  return {
    statistics: statisticsOf(rows, 2),
    score: (sums) => (sums[0] ?? 0) / (Math.LN2 * (sums[1] ?? 0)),
  };
}
