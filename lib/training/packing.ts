/**
 * Packing: samples laid end to end without padding, the part they all begin with laid down once.
 *
 * Under a causal mask the hidden states of a common prefix are the same in every sample. Each sample
 * attends to the one prefix and to itself; the gradient is exact.
 */
import { sharedPrefixLength } from "@lib/chat/prefix.ts";
import type { Sample } from "@lib/chat/sample.ts";
import type { Batch } from "@lib/engine/batch.ts";

/** Which tokens count in the loss. */
export type LossOn = "answer" | "all";

/**
 * Tokens that all samples begin with, never reaching into an answer and leaving each sample at least
 * one token of its own.
 *
 * @returns number of tokens; 0 for fewer than two samples
 */
export function commonPrefixLength(samples: readonly Sample[]): number {
  const limits = samples.map(({ tokens, answerStart }) => Math.min(tokens.length - 1, answerStart));
  return sharedPrefixLength(samples.map((s) => s.tokens), Math.min(...limits));
}

/** Limits of one micro-batch. */
export interface MicroBatchLimits {
  readonly maxTokens: number;
  readonly maxSequences: number;
}

/**
 * Cuts the samples of one optimiser step into micro-batches, keeping their order.
 *
 * @param prefixLength tokens shared by all, counted once a micro-batch
 * @throws {RangeError} one sample alone exceeds the limits
 */
export function planMicroBatches(
  samples: readonly Sample[],
  prefixLength: number,
  limits: MicroBatchLimits,
): Sample[][] {
  const batches: Sample[][] = [];
  let current: Sample[] = [];
  let tokens = prefixLength;
  for (const sample of samples) {
    const own = sample.tokens.length - prefixLength;
    if (prefixLength + own > limits.maxTokens) {
      throw new RangeError(
        `Sample ${sample.id} has ${sample.tokens.length} tokens, a micro-batch holds ` +
          `${limits.maxTokens}. Raise training.micro_batch_tokens or lower ` +
          "training.max_sequence_tokens.",
      );
    }
    const full = tokens + own > limits.maxTokens || current.length >= limits.maxSequences;
    if (full && current.length > 0) {
      batches.push(current);
      [current, tokens] = [[], prefixLength];
    }
    current.push(sample);
    tokens += own;
  }
  if (current.length > 0) batches.push(current);
  return batches;
}

/** A batch that knows whose targets its targets are. */
export interface PackedBatch extends Batch {
  /** (targets) index into the packed samples; −1: a token of the shared prefix. */
  readonly targetSamples: Int32Array<ArrayBuffer>;
}

/**
 * Packs samples into one batch.
 *
 * @param prefixLength tokens that all of them begin with; 0: nothing is shared
 * @param lossOn `answer`: every answer token and the end token; `all`: every token but the first,
 *   a shared prefix as often as it is shared
 */
export function packBatch(
  samples: readonly Sample[],
  prefixLength: number,
  lossOn: LossOn,
): PackedBatch {
  const total = samples.reduce((n, s) => n + s.tokens.length - prefixLength, prefixLength);
  const tokenIds = new Int32Array(total);
  const cuSeqlens = new Int32Array(samples.length + 1);
  tokenIds.set(samples[0]?.tokens.subarray(0, prefixLength) ?? []);
  cuSeqlens[0] = prefixLength;
  const targets = new TargetList();
  if (lossOn === "all" && samples[0] !== undefined) {
    for (let j = 1; j < prefixLength; j++) {
      targets.add(-1, j - 1, samples[0].tokens[j] ?? 0, samples.length);
    }
  }
  // Rows must ascend: every sequence's first token hangs on the prefix's last row, so these first.
  samples.forEach((sample, s) => {
    if (prefixLength > 0 && firstTarget(sample, lossOn) <= prefixLength) {
      targets.add(s, prefixLength - 1, sample.tokens[prefixLength] ?? 0, 1);
    }
  });
  let row = prefixLength;
  samples.forEach((sample, s) => {
    tokenIds.set(sample.tokens.subarray(prefixLength), row);
    const begin = Math.max(firstTarget(sample, lossOn), prefixLength + 1);
    for (let j = begin; j < sample.tokens.length; j++) {
      targets.add(s, row + j - 1 - prefixLength, sample.tokens[j] ?? 0, 1);
    }
    row += sample.tokens.length - prefixLength;
    cuSeqlens[s + 1] = row;
  });
  return {
    tokenIds,
    prefixLength,
    cuSeqlens,
    sequenceKeys: Int32Array.from(samples, (s) => s.id),
    ...targets.arrays(),
  };
}

/** Index of the first token of a sample that is a target. */
function firstTarget(sample: Sample, lossOn: LossOn): number {
  return lossOn === "all" ? 1 : Math.max(1, sample.answerStart);
}

/** Growing lists of targets. */
class TargetList {
  readonly #samples: number[] = [];
  readonly #rows: number[] = [];
  readonly #ids: number[] = [];
  readonly #weights: number[] = [];

  add(sample: number, row: number, id: number, weight: number): void {
    this.#samples.push(sample);
    this.#rows.push(row);
    this.#ids.push(id);
    this.#weights.push(weight);
  }

  arrays(): Pick<
    PackedBatch,
    "targetSamples" | "targetRows" | "targetIds" | "targetWeights"
  > {
    const weighted = this.#weights.some((w) => w !== 1);
    return {
      targetSamples: Int32Array.from(this.#samples),
      targetRows: Int32Array.from(this.#rows),
      targetIds: Int32Array.from(this.#ids),
      targetWeights: weighted ? Float32Array.from(this.#weights) : undefined,
    };
  }
}

/** How much work packing saves on one set of samples, in tokens the model computes. */
export interface PackingReport {
  readonly samples: number;
  readonly prefixTokens: number;
  /** Every sample padded to `padTo`. */
  readonly padded: number;
  /** No padding, nothing shared. */
  readonly unpadded: number;
  /** No padding, the prefix once a micro-batch. */
  readonly packed: number;
}

/** Counts tokens under the three ways of laying samples out. */
export function packingReport(
  samples: readonly Sample[],
  batchSize: number,
  limits: MicroBatchLimits,
  padTo: number,
): PackingReport {
  const prefixTokens = commonPrefixLength(samples);
  let packed = 0;
  for (let i = 0; i < samples.length; i += batchSize) {
    const step = samples.slice(i, i + batchSize);
    packed += planMicroBatches(step, prefixTokens, limits).length * prefixTokens;
    packed += step.reduce((n, s) => n + s.tokens.length - prefixTokens, 0);
  }
  return {
    samples: samples.length,
    prefixTokens,
    padded: samples.length * padTo,
    unpadded: samples.reduce((n, s) => n + s.tokens.length, 0),
    packed,
  };
}
