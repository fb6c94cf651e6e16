/** Log-likelihood of answers under a model: the ground of loss, perplexity and bits per byte. */
import type { Sample } from "@lib/chat/sample.ts";
import type { Model } from "@lib/engine/model.ts";
import {
  commonPrefixLength,
  type MicroBatchLimits,
  packBatch,
  planMicroBatches,
} from "@lib/training/packing.ts";

/** One sample's negative log-likelihood. */
export interface SampleLikelihood {
  readonly id: number;
  /** Nats, over every answer token and the end token. */
  readonly nll: number;
  /** Answer tokens, the end token included. */
  readonly tokens: number;
  /** Nats over the text alone, without the end token. */
  readonly textNll: number;
}

/** Limits under which validation and test samples are packed. */
export const EVALUATION_LIMITS: MicroBatchLimits = { maxTokens: 4096, maxSequences: 64 };

/**
 * Measures every sample, dropout off, packed behind their common prefix.
 *
 * @param onProgress called with the number of samples done
 * @returns one entry a sample, in order
 */
export async function measureLikelihood(
  model: Model,
  samples: readonly Sample[],
  options: {
    readonly limits?: MicroBatchLimits;
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: (done: number) => void;
  } = {},
): Promise<SampleLikelihood[]> {
  const prefix = commonPrefixLength(samples);
  const longest = Math.max(0, ...samples.map((s) => s.tokens.length));
  const limits = options.limits ?? EVALUATION_LIMITS;
  const fitting = { ...limits, maxTokens: Math.max(limits.maxTokens, longest) };
  const results: SampleLikelihood[] = [];
  options.onProgress?.(0);
  for (const group of planMicroBatches(samples, prefix, fitting)) {
    options.signal?.throwIfAborted();
    const batch = packBatch(group, prefix, "answer");
    const nll = await model.evaluate(batch, options.signal);
    results.push(...sumBySample(group, batch.targetSamples, nll));
    options.onProgress?.(results.length);
  }
  return results;
}

/** Adds up a batch's targets by sample; a sample's last target is its end token. */
function sumBySample(
  samples: readonly Sample[],
  owners: Int32Array,
  nll: Float32Array,
): SampleLikelihood[] {
  const sums = samples.map(({ id }) => ({ id, nll: 0, tokens: 0, textNll: 0 }));
  owners.forEach((owner, i) => {
    const sum = sums[owner];
    if (sum === undefined) return;
    sum.textNll = sum.nll;
    sum.nll += nll[i] ?? 0;
    sum.tokens++;
  });
  return sums;
}

/** Mean over all tokens (micro-average). */
export interface MeanLikelihood {
  /** Nats a token. */
  readonly loss: number;
  readonly perplexity: number;
  readonly tokens: number;
}

/**
 * Micro-averages samples.
 *
 * @example
 * ```ts
 * import { meanLikelihood } from "@lib/evaluation/likelihood.ts";
 * import { assertAlmostEquals } from "@std/assert";
 * const mean = meanLikelihood([
 *   { id: 1, nll: 4, tokens: 2, textNll: 3 },
 *   { id: 2, nll: 2, tokens: 1, textNll: 1 },
 * ]);
 * assertAlmostEquals(mean.perplexity, Math.exp(2));
 * ```
 */
export function meanLikelihood(samples: readonly SampleLikelihood[]): MeanLikelihood {
  const tokens = samples.reduce((n, s) => n + s.tokens, 0);
  const loss = samples.reduce((n, s) => n + s.nll, 0) / Math.max(1, tokens);
  return { loss, perplexity: Math.exp(loss), tokens };
}
