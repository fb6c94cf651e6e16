/** Optimiser steps over full samples with nothing in common. */
import { drawSamples, FULL_SHAPE } from "@lib/bench/samples.ts";
import { openRandomModel } from "@lib/bench/random_model.ts";
import { median } from "@lib/bench/row.ts";
import { keptLayers, seedConfig, stepSizes } from "@lib/bench/epoch.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import { trainingFlops } from "@lib/engine/flops.ts";
import type { Backend } from "@lib/engine/library.ts";
import type { LoraModule, Recompute } from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import type { OnProgress } from "@lib/phases.ts";
import type { TrainingData } from "@lib/training/data.ts";
import { packBatch, planMicroBatches } from "@lib/training/packing.ts";
import { MemoryPlanError, planRun, type TrainingPlan } from "@lib/training/plan.ts";

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
  /** @default all seven */
  readonly modules?: readonly LoraModule[];
  /** Cap on device memory such as "12GB". @default {null} */
  readonly memory?: string | null;
  /** Called with the steps done. */
  readonly onProgress?: OnProgress | undefined;
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

function stepData({ architecture, samples }: StepsOptions): TrainingData {
  const train = { samples: drawSamples(samples, architecture.vocabSize, FULL_SHAPE), tooLong: [] };
  return { train, validation: { samples: [], tooLong: [] }, prefixLength: 0 };
}

/** @throws {MemoryPlanError} */
function planSteps(options: StepsOptions, data: TrainingData): TrainingPlan {
  const set = [
    `training.batch_size=${options.samples}`,
    `training.micro_batch_tokens=${options.microBatch * FULL_SHAPE.mean}`,
    `training.gradient_checkpointing=${options.recompute}`,
  ];
  return planRun(options.architecture, seedConfig({ ...options, steps: null, set }), data);
}

/**
 * The least memory budget that the planner accepts, to 10 MB.
 *
 * @throws {RangeError} nothing is enough
 */
export function leastBudget(options: StepsOptions): string {
  const data = stepData(options);
  const fits = (bytes: number) => {
    try {
      planSteps({ ...options, memory: `${bytes}B` }, data);
      return true;
    } catch (error) {
      if (error instanceof MemoryPlanError) return false;
      throw error;
    }
  };
  let [low, high] = [0, 1e8];
  while (!fits(high)) {
    [low, high] = [high, high * 2];
    if (high > 1e13) throw new RangeError("no memory budget is enough for this training");
  }
  while (high - low > 1e7) {
    const middle = Math.round((low + high) / 2);
    if (fits(middle)) high = middle;
    else low = middle;
  }
  return `${high}B`;
}

/** Times them. @throws {EngineError | MemoryPlanError} */
export async function timeSteps(options: StepsOptions): Promise<StepTimes> {
  const { architecture } = options;
  const data = stepData(options);
  const plan = planSteps(options, data);
  const { samples } = data.train;
  const model = await openRandomModel(architecture, plan.model, plan.lora);
  try {
    await using trainer = await Trainer.create(model, plan.trainer);
    const seconds: number[] = [];
    const losses: number[] = [];
    const count = options.warmup + options.steps;
    for (let step = 0; step < count; step++) {
      options.onProgress?.(step, count);
      const begun = performance.now();
      for (const group of planMicroBatches(samples, 0, plan.trainer)) {
        await trainer.accumulate(packBatch(group, 0, "answer"));
      }
      losses.push((await trainer.step(1e-4)).loss);
      if (step >= options.warmup) seconds.push((performance.now() - begun) / 1000);
    }
    options.onProgress?.(count, count);
    const memory = model.memory();
    const sizes = stepSizes(samples, 0, plan.trainer);
    const tokens = sizes.reduce((n, size) => n + size.tokens, 0);
    const flops = sizes.reduce(
      (n, size) => n + trainingFlops(architecture, plan.lora, size, keptLayers(memory)).total,
      0,
    );
    const stepSeconds = median(seconds);
    return {
      stepSeconds,
      tokensPerSecond: tokens / stepSeconds,
      flopsPerSecond: flops / stepSeconds,
      samplesPerSecond: samples.length / stepSeconds,
      losses,
      keptLayers: memory.kept_layers,
      plannedBytes: plan.memory.total,
    };
  } finally {
    await model.close();
  }
}
