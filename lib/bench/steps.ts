/** Optimiser steps on one fixed set of samples. */
import { drawSamples, FULL_SHAPE, type SampleShape } from "@lib/bench/samples.ts";
import { openRandomModel } from "@lib/bench/random_model.ts";
import { median } from "@lib/bench/row.ts";
import { seedConfig, stepSizes } from "@lib/bench/epoch.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import { trainingFlops } from "@lib/engine/flops.ts";
import type { Backend } from "@lib/engine/library.ts";
import {
  type LoraModule,
  type ModelOptions,
  planTraining,
  type Recompute,
  type TrainOptions,
} from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import { packBatch, planMicroBatches } from "@lib/training/packing.ts";
import { loraOptions, modelOptions } from "@lib/training/plan.ts";

/** What to run. */
export interface StepsOptions {
  readonly architecture: Architecture;
  readonly backend: Backend;
  /** Samples of an optimiser step. */
  readonly samples: number;
  /** Samples of a micro-batch. */
  readonly microBatch: number;
  readonly recompute: Recompute;
  readonly warmup: number;
  readonly steps: number;
  /** @default {FULL_SHAPE} */
  readonly shape?: SampleShape;
  /** @default all seven */
  readonly modules?: readonly LoraModule[];
  /** Device bytes that may be used; 0: what is free. @default {0} */
  readonly memoryBudget?: number;
}

/** What it took. */
export interface StepTimes {
  /** Median of an optimiser step. */
  readonly stepSeconds: number;
  readonly tokensPerSecond: number;
  readonly flopsPerSecond: number;
  readonly samplesPerSecond: number;
  readonly losses: readonly number[];
  readonly keptLayers: number;
  readonly plannedBytes: number;
}

/** Trainer settings for micro-batches of full samples. */
export function stepTrainer(options: StepsOptions): TrainOptions {
  const { prefix, mean, spread } = options.shape ?? FULL_SHAPE;
  const maxTokens = prefix + options.microBatch * (mean + 3 * spread);
  return {
    maxTokens,
    maxSequences: options.microBatch,
    maxTargets: maxTokens,
    recompute: options.recompute,
  };
}

/**
 * The least memory budget the planner accepts, to 10 MB.
 *
 * @throws {RangeError} nothing fits even what the device has
 */
export function leastBudget(options: StepsOptions): number {
  const config = seedConfig(options);
  const trainer = stepTrainer(options);
  const fits = (memoryBudget: number) => {
    const model: ModelOptions = { ...modelOptions(config), memoryBudget };
    return planTraining(options.architecture, model, loraOptions(config), trainer).problem === null;
  };
  let [low, high] = [0, 1e8];
  while (!fits(high)) {
    [low, high] = [high, high * 2];
    if (high > 1e13) throw new RangeError("no memory budget is enough for this training");
  }
  while (high - low > 1e7) {
    const middle = (low + high) / 2;
    if (fits(middle)) high = middle;
    else low = middle;
  }
  return Math.ceil(high);
}

/** Times them. @throws {EngineError} */
export async function timeSteps(options: StepsOptions): Promise<StepTimes> {
  const { architecture } = options;
  const config = seedConfig(options);
  const lora = loraOptions(config);
  const samples = drawSamples(
    options.samples,
    architecture.vocabSize,
    options.shape ?? FULL_SHAPE,
  );
  const { prefix } = options.shape ?? FULL_SHAPE;
  const settings = stepTrainer(options);
  const budget = { memoryBudget: options.memoryBudget ?? 0 };
  const model = await openRandomModel(architecture, { ...modelOptions(config), ...budget }, lora);
  try {
    await using trainer = await Trainer.create(model, settings);
    const { kept_layers: keptLayers, total: plannedBytes } = model.memory();
    const seconds: number[] = [];
    const losses: number[] = [];
    for (let step = 0; step < options.warmup + options.steps; step++) {
      const begun = performance.now();
      for (const group of planMicroBatches(samples, prefix, settings)) {
        await trainer.accumulate(packBatch(group, prefix, "answer"));
      }
      losses.push((await trainer.step(1e-4)).loss);
      if (step >= options.warmup) seconds.push((performance.now() - begun) / 1000);
    }
    const sizes = stepSizes(samples, prefix, settings);
    const tokens = sizes.reduce((n, size) => n + size.tokens, 0);
    const flops = sizes.reduce(
      (n, size) => n + trainingFlops(architecture, lora, size, keptLayers).total,
      0,
    );
    const stepSeconds = median(seconds);
    return {
      stepSeconds,
      tokensPerSecond: tokens / stepSeconds,
      flopsPerSecond: flops / stepSeconds,
      samplesPerSecond: samples.length / stepSeconds,
      losses,
      keptLayers,
      plannedBytes,
    };
  } finally {
    await model.close();
  }
}
