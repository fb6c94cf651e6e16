/** The distribution that the next token is drawn from, step by step: what the engine's sampler does. */
import type { Sampling } from "@lib/engine/generator.ts";
import type { Model } from "@lib/engine/model.ts";

/** The settings that shape a distribution. */
export type DistributionSettings = Pick<
  Sampling,
  "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty"
>;

/**
 * Logits of the token after a prompt, with the adapter as it is switched.
 *
 * @param ids at least one
 * @returns (vocabulary)
 */
export async function nextTokenLogits(
  model: Model,
  ids: readonly number[],
): Promise<Float32Array<ArrayBuffer>> {
  return await model.logits({
    tokenIds: Int32Array.from(ids),
    prefixLength: 0,
    cuSeqlens: Int32Array.of(0, ids.length),
    sequenceKeys: Int32Array.of(0),
    targetRows: Int32Array.of(ids.length - 1),
    targetIds: Int32Array.of(0),
  });
}

/**
 * Probabilities of the next token, in the order of transformers' processors: repetition penalty,
 * temperature, top-k, top-p, min-p. Temperature 0 puts everything on the best token.
 *
 * @param logits (vocabulary)
 * @param history ids that the repetition penalty weakens: prompt and answer so far
 * @returns (vocabulary) sums to 1
 *
 * @example
 * ```ts
 * import { nextTokenProbabilities } from "@lib/generation/distribution.ts";
 * import { assertAlmostEquals } from "@std/assert";
 * const warm = nextTokenProbabilities([2, 1, 0], { temperature: 1 });
 * const cool = nextTokenProbabilities([2, 1, 0], { temperature: 0.5, topK: 2 });
 * assertAlmostEquals(warm[0] ?? 0, 0.665, 1e-3);
 * assertAlmostEquals(cool[0] ?? 0, 0.881, 1e-3);
 * ```
 */
export function nextTokenProbabilities(
  logits: ArrayLike<number>,
  settings: DistributionSettings,
  history: readonly number[] = [],
): number[] {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = settings;
  const z = Array.from(logits);
  for (const id of new Set(history)) {
    const value = z[id];
    if (value === undefined) continue;
    z[id] = value > 0 ? value / repetitionPenalty : value * repetitionPenalty;
  }
  const byLogit = z.map((_, id) => id).sort((a, b) => (z[b] ?? 0) - (z[a] ?? 0) || a - b);
  const best = byLogit[0];
  if (best === undefined) return [];
  if (temperature === 0) return z.map((_, id) => id === best ? 1 : 0);
  const top = z[best] ?? 0;
  let weights = z.map((value) => Math.exp((value - top) / temperature));
  weights = keepTopK(weights, byLogit, topK);
  weights = keepTopP(weights, byLogit, topP);
  weights = weights.map((weight) => weight < minP ? 0 : weight); // the best token's weight is 1
  const sum = total(weights);
  return weights.map((weight) => weight / sum);
}

const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Those as heavy as the k-th heaviest; 0: all. */
function keepTopK(weights: readonly number[], order: readonly number[], k: number): number[] {
  const least = k > 0 ? weights[order[k - 1] ?? -1] ?? 0 : 0;
  return weights.map((weight) => weight >= least ? weight : 0);
}

/** The heaviest, until together they hold the share `p`. */
function keepTopP(weights: readonly number[], order: readonly number[], p: number): number[] {
  if (p >= 1) return [...weights];
  const bound = p * total(weights);
  const kept = weights.map(() => 0);
  let above = 0;
  for (const id of order) {
    if (above >= bound) break;
    kept[id] = weights[id] ?? 0;
    above += weights[id] ?? 0;
  }
  return kept;
}
