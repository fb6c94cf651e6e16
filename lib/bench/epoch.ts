/** The original project's epoch by the product's own training loop, whole or a part of it. */
import { drawSamples, SEED_SHAPE } from "@lib/bench/samples.ts";
import { openRandomModel } from "@lib/bench/random_model.ts";
import { median } from "@lib/bench/row.ts";
import type { Sample } from "@lib/chat/sample.ts";
import { type Config, LORA_MODULES, resolveConfig } from "@lib/config.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import {
  attendedPairs,
  type BatchSize,
  type KeptLayers,
  trainingFlops,
} from "@lib/engine/flops.ts";
import type { Backend } from "@lib/engine/library.ts";
import type { MemoryReport } from "@lib/engine/memory.ts";
import type { LoraModule } from "@lib/engine/model.ts";
import type { OnProgress } from "@lib/phases.ts";
import { Run } from "@lib/experiment/run.ts";
import { planMicroBatches } from "@lib/training/packing.ts";
import { planRun, type TrainingPlan } from "@lib/training/plan.ts";
import type { TrainingData } from "@lib/training/data.ts";
import { epochSteps, train } from "@lib/training/train.ts";

/** What to train. */
export interface EpochOptions {
  readonly architecture: Architecture;
  readonly backend: Backend;
  /** Training samples of the epoch. */
  readonly samples: number;
  /** Validation samples, measured once at the end of the epoch. */
  readonly validation: number;
  /** Timed whole when the plan expects no more seconds than this, otherwise a part of it. */
  readonly wholeSeconds: number;
  /** Optimiser steps of a part, fewer on a slow machine; the rest is scaled by the tokens computed. */
  readonly part: number;
  /** @default all seven */
  readonly modules?: readonly LoraModule[];
  /** Cap on device memory such as "12GB". @default {null} */
  readonly memory?: string | null;
  /** Called with the optimiser steps done, the warm-up counted. */
  readonly onProgress?: OnProgress | undefined;
}

/** What it took. */
export interface EpochTimes {
  /** Of the epoch: every step, then one validation. */
  readonly seconds: number;
  readonly trainingSeconds: number;
  readonly validationSeconds: number;
  readonly stepsTimed: number;
  readonly stepsInEpoch: number;
  /** Median. */
  readonly stepSeconds: number;
  readonly samplesPerSecond: number;
  /** Computed, the shared prefix once a micro-batch. */
  readonly tokensPerSecond: number;
  /** Operations a second, all that were done. */
  readonly flopsPerSecond: number;
  /** Operations of the whole epoch's training. */
  readonly flops: number;
  readonly tokens: number;
  readonly prefixTokens: number;
  readonly losses: readonly number[];
  readonly keptLayers: number;
  readonly microBatchTokens: number;
  readonly plannedBytes: number;
}

/** Steps before the clock starts when only a part of an epoch is timed. */
const WARMUP = 3;
/** What a part of an epoch may take, if that leaves it a few steps. */
const PART_SECONDS = 120;
const FEWEST_STEPS = 4;

/** The seed's settings on a model without a folder. */
export function seedConfig(options: {
  readonly backend: Backend;
  readonly modules?: readonly LoraModule[];
  readonly memory?: string | null;
  readonly steps?: number | null;
  readonly set?: readonly string[];
}): Config {
  const { backend, modules = LORA_MODULES, memory = null, steps = null } = options;
  return resolveConfig({
    profile: "rtx3060",
    set: [
      "model.base=random",
      `engine.backend=${backend}`,
      `engine.memory=${JSON.stringify(memory)}`,
      `lora.target_modules=${JSON.stringify(modules)}`,
      `training.max_steps=${steps}`,
      "training.eval_every=1000000",
      "training.save_every=1000000",
      ...options.set ?? [],
    ],
  });
}

/** Training and validation samples as the loop takes them. */
function seedData(options: EpochOptions): TrainingData {
  const { vocabSize } = options.architecture;
  const part = (count: number, seed: number) => ({
    samples: drawSamples(count, vocabSize, SEED_SHAPE, seed),
    tooLong: [],
  });
  return {
    train: part(options.samples, 1),
    validation: part(options.validation, 2),
    prefixLength: SEED_SHAPE.prefix,
  };
}

/** The micro-batches of one step by their sizes. */
export function stepSizes(
  samples: readonly Sample[],
  prefix: number,
  limits: { readonly maxTokens: number; readonly maxSequences: number },
): BatchSize[] {
  return planMicroBatches(samples, prefix, limits).map((group) => {
    const own = group.map((s) => s.tokens.length - prefix);
    return {
      tokens: own.reduce((a, b) => a + b, prefix),
      targets: group.reduce((n, s) => n + s.tokens.length - s.answerStart, 0),
      pairs: attendedPairs(prefix, own),
    };
  });
}

/** What a plan keeps for the backward pass. */
export function keptLayers({ kept_layers }: MemoryReport): KeptLayers {
  return { products: kept_layers, whole: kept_layers };
}

/** Tokens computed and operations done in each of an epoch's steps. */
function epochWork(
  architecture: Architecture,
  config: Config,
  data: TrainingData,
  plan: TrainingPlan,
): { tokens: number; flops: number }[] {
  return epochSteps(data.train.samples, config, 0).map((samples) => {
    const sizes = stepSizes(samples, data.prefixLength, plan.trainer);
    return {
      tokens: sizes.reduce((n, size) => n + size.tokens, 0),
      flops: sizes.reduce(
        (n, size) =>
          n + trainingFlops(architecture, plan.lora, size, keptLayers(plan.memory)).total,
        0,
      ),
    };
  });
}

const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Optimiser steps to time; null: the whole epoch. */
function stepsToTime(
  { wholeSeconds, part }: EpochOptions,
  { stepSeconds, stepsPerEpoch }: TrainingPlan,
): number | null {
  if (stepSeconds * stepsPerEpoch <= wholeSeconds) return null;
  return Math.min(part, Math.max(FEWEST_STEPS, Math.floor(PART_SECONDS / stepSeconds)));
}

/** Trains an epoch, or its first steps. @throws {EngineError | MemoryPlanError} */
export async function timeEpoch(options: EpochOptions): Promise<EpochTimes> {
  const { architecture } = options;
  const data = seedData(options);
  const all = seedConfig(options);
  const steps = stepsToTime(options, planRun(architecture, all, data));
  const config = steps === null ? all : seedConfig({ ...options, steps: steps + WARMUP });
  const plan = planRun(architecture, config, data);
  const work = epochWork(architecture, config, data, plan);
  const outputs = await Deno.makeTempDir();
  const model = await openRandomModel(architecture, plan.model, plan.lora);
  try {
    const run = await Run.open("bench", outputs);
    const losses: number[] = [];
    const stepTimes: number[] = [];
    let validationSeconds = NaN;
    let mark = performance.now();
    for await (const event of train({ run, config, model, data, plan })) {
      const now = performance.now();
      if (event.event === "train") {
        losses.push(event.loss);
        stepTimes.push((now - mark) / 1000);
        options.onProgress?.(stepTimes.length, plan.totalSteps);
      }
      if (event.event === "validation") validationSeconds = event.seconds;
      mark = now;
    }
    const skipped = steps === null ? 0 : Math.min(WARMUP, stepTimes.length - 1);
    const counted = stepTimes.slice(skipped);
    const done = work.slice(skipped, skipped + counted.length);
    const timed = {
      seconds: total(counted),
      tokens: total(done.map((w) => w.tokens)),
      flops: total(done.map((w) => w.flops)),
    };
    const tokens = total(work.map((w) => w.tokens));
    const trainingSeconds = timed.seconds * tokens / timed.tokens;
    return {
      seconds: trainingSeconds + validationSeconds,
      trainingSeconds,
      validationSeconds,
      stepsTimed: counted.length,
      stepsInEpoch: work.length,
      stepSeconds: median(counted),
      samplesPerSecond: options.samples / trainingSeconds,
      tokensPerSecond: timed.tokens / timed.seconds,
      flopsPerSecond: timed.flops / timed.seconds,
      flops: total(work.map((w) => w.flops)),
      tokens,
      prefixTokens: data.prefixLength,
      losses,
      keptLayers: plan.memory.kept_layers,
      microBatchTokens: plan.trainer.maxTokens,
      plannedBytes: plan.memory.total,
    };
  } finally {
    await model.close();
    await Deno.remove(outputs, { recursive: true });
  }
}
