/** How long a run takes on a machine that is not here, and whether it fits. */
import type { Architecture } from "@lib/engine/architecture.ts";
import {
  attendedPairs,
  type BatchSize,
  type KeptLayers,
  type LoraSize,
} from "@lib/engine/flops.ts";
import type { Machine } from "@lib/engine/machine.ts";
import {
  BF16,
  CONTEXT_BYTES,
  layerWeights,
  RESIDENT_SHARE,
  type TrainingMemory,
  trainingMemory,
} from "@lib/training/memory_model.ts";
import { evaluationTime, microBatchTime, optimizerTime } from "@lib/training/roofline.ts";

/** A run as far as it costs. Lengths in tokens; means, but for `longest`. */
export interface RunShape {
  readonly samples: number;
  /** Samples an optimiser step. */
  readonly batchSize: number;
  /** Shared by all samples; 0: nothing. */
  readonly prefix: number;
  /** A sample without the prefix, and its standard deviation. */
  readonly own: number;
  readonly spread: number;
  /** Of it, predicted. */
  readonly answer: number;
  /** The longest sample, prefix included. */
  readonly longest: number;
  /** Samples measured once. */
  readonly validation: number;
}

/** The original project's run: one epoch over 12,750 samples. */
export const SEED_RUN: RunShape = {
  samples: 12750,
  batchSize: 32,
  prefix: 336,
  own: 170,
  spread: 60,
  answer: 102,
  longest: 686,
  validation: 1500,
};

/** What a run is expected to take. */
export interface Forecast {
  /** Tokens of a micro-batch. */
  readonly microBatchTokens: number;
  readonly kept: KeptLayers;
  readonly resident: boolean;
  readonly embeddingsOnHost: boolean;
  /** Device bytes, the CUDA context included. */
  readonly memoryBytes: number;
  readonly stepSeconds: number;
  /** Training and one validation. */
  readonly seconds: number;
}

/** What the planner fills of the memory: the rest is the screen's and the driver's. */
const USABLE = 0.9;

/** Tokens of a micro-batch that holds any optimiser step: the planner's five per cent above the largest. */
function wholeStep({ batchSize, prefix, own, spread, longest }: RunShape): number {
  const largest = batchSize * own + 3 * spread * Math.sqrt(batchSize);
  return prefix + Math.ceil(Math.min(1.05 * largest, batchSize * (longest - prefix)));
}

/** Samples that so many tokens hold nearly always: up to two standard deviations above their mean. */
function samplesWithin({ batchSize, prefix, own, spread }: RunShape, tokens: number): number {
  const fit = (n: number) => prefix + n * own + 2 * spread * Math.sqrt(n) <= tokens;
  let samples = batchSize;
  while (samples > 1 && !fit(samples)) samples--;
  return samples;
}

/** The sizes of one step's micro-batches when each holds at most so many tokens. */
function stepBatches(run: RunShape, tokens: number): { size: BatchSize; count: number } {
  const count = Math.ceil(run.batchSize / samplesWithin(run, tokens));
  const samples = run.batchSize / count;
  return {
    count,
    size: {
      tokens: run.prefix + samples * run.own,
      targets: samples * run.answer,
      pairs: attendedPairs(run.prefix, []) + samples * attendedPairs(0, [run.own]) +
        samples * run.own * run.prefix,
    },
  };
}

/** As many layers kept as fit: their products first, then all of them; null: nothing fits. */
function keepLayers(
  a: Architecture,
  lora: LoraSize,
  capacity: Omit<TrainingMemory, "kept">,
  room: number,
): KeptLayers | null {
  const bytes = (products: number, whole: number) =>
    trainingMemory(a, lora, { ...capacity, kept: { products, whole } });
  const least = bytes(1, 1);
  if (least > room) return null;
  const more = (from: number, to: number, layers: number) =>
    Math.floor((room - from) / ((to - from) / layers));
  const rest = a.numLayers - 1;
  if (rest === 0) return { products: 1, whole: 1 };
  const products = 1 + Math.min(rest, more(least, bytes(a.numLayers, 1), rest));
  const with1 = bytes(products, 1);
  const whole = products < 2
    ? 1
    : 1 + Math.min(products - 1, more(with1, bytes(products, products), products - 1));
  return { products, whole };
}

/**
 * Predicts a run: the micro-batch and the kept layers that take least time within the memory.
 *
 * @param options.memoryBytes budget of device memory. @default the machine's
 * @returns null when not even one sample at a time fits
 */
export function forecastRun(
  a: Architecture,
  lora: LoraSize,
  run: RunShape,
  machine: Machine,
  options: { readonly memoryBytes?: number } = {},
): Forecast | null {
  const memoryBytes = options.memoryBytes ?? machine.memoryBytes;
  const usable = USABLE * memoryBytes - CONTEXT_BYTES;
  let best: Forecast | null = null;
  for (const embeddingsOnHost of [false, true]) {
    for (let tokens = wholeStep(run);; tokens = Math.max(run.longest, Math.floor(tokens / 1.1))) {
      const tiles = layerWeights(a) * BF16;
      const resident = tiles <= RESIDENT_SHARE * memoryBytes && tiles < 0.5 * usable;
      const room = memoryBytes - CONTEXT_BYTES;
      const capacity = { tokens, targets: tokens, resident, embeddingsOnHost, memoryBytes: room };
      const kept = keepLayers(a, lora, capacity, usable);
      if (kept !== null) {
        const layout = { kept, resident };
        const { size, count } = stepBatches(run, tokens);
        const bus = embeddingsOnHost ? size.tokens * a.hiddenSize * BF16 / machine.busBytes : 0;
        const stepSeconds = optimizerTime(a, lora, layout, machine) +
          count * (bus + microBatchTime(a, lora, size, layout, machine).total);
        const steps = Math.ceil(run.samples / run.batchSize);
        const validation = run.validation / (run.batchSize / count) *
          evaluationTime(a, lora, size, layout, machine);
        const seconds = steps * stepSeconds + validation;
        if (best === null || seconds < best.seconds) {
          best = {
            microBatchTokens: tokens,
            kept,
            resident,
            embeddingsOnHost,
            memoryBytes: trainingMemory(a, lora, { ...capacity, kept }) + CONTEXT_BYTES,
            stepSeconds,
            seconds,
          };
        }
      }
      if (tokens === run.longest) break;
    }
  }
  return best;
}
