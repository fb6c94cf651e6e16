/** How long a training run will take: its work in floating-point operations, and a measured speed. */
import type { Config } from "@lib/config.ts";
import { type Architecture, countParameters } from "@lib/engine/architecture.ts";
import type { Batch } from "@lib/engine/batch.ts";
import { Model } from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import { loraOptions, modelOptions } from "@lib/training/plan.ts";

/** What is computed. */
export interface Work {
  /** Tokens that pass through the layers. */
  readonly tokens: number;
  /** Tokens predicted, which pass through the head. */
  readonly targets: number;
  /** Share of the layers whose forward pass is done again in the backward pass, 0..1. */
  readonly recomputed: number;
}

/** Parameters of the layers and of the head. */
function partSizes(a: Architecture): { layers: number; head: number } {
  const head = a.vocabSize * a.hiddenSize;
  return { layers: countParameters(a) - head * (a.tieWordEmbeddings ? 1 : 2), head };
}

/**
 * Floating-point operations of training with a frozen base: 2 a parameter forward, 2 for the gradient
 * of the activations, 2 more where a layer is recomputed. Attention scores and LoRA's own small
 * products are left out.
 */
export function trainingWork(a: Architecture, { tokens, targets, recomputed }: Work): number {
  const { layers, head } = partSizes(a);
  return layers * tokens * (4 + 2 * recomputed) + 4 * head * targets;
}

/** A measured speed. */
export interface TrainingSpeed {
  /** Layers of the probe, which has the model's widths and random weights. */
  readonly layers: number;
  readonly tokens: number;
  /** Seconds of the faster of two micro-batches. */
  readonly seconds: number;
  /** Floating-point operations a second. */
  readonly flops: number;
}

/** Parameters that a probe has at most, unless one layer has more. */
const PROBE_PARAMETERS = 5e7;
const PROBE_VOCABULARY = 8192;
const SEQUENCES = 4;

/** Sequences of equal length whose second halves are targets. */
function probeBatch(tokens: number): Batch {
  const length = tokens / SEQUENCES;
  const rows = Array.from({ length: tokens }, (_, row) => row)
    .filter((row) => row % length >= length / 2 && row % length < length - 1);
  return {
    tokenIds: Int32Array.from({ length: tokens }, (_, at) => (at * 37) % 100),
    prefixLength: 0,
    cuSeqlens: Int32Array.from({ length: SEQUENCES + 1 }, (_, at) => at * length),
    sequenceKeys: Int32Array.from({ length: SEQUENCES }, (_, at) => at),
    targetRows: Int32Array.from(rows),
    targetIds: Int32Array.from(rows, (row) => ((row + 1) * 37) % 100),
  };
}

/**
 * Trains two micro-batches on a model of the same widths with fewer layers and random weights, so
 * that no checkpoint is needed: seconds on a CPU, less on a GPU.
 *
 * @param tokens of one micro-batch, a multiple of 8
 * @throws {EngineError} no library, not enough memory
 */
export async function measureTrainingSpeed(
  architecture: Architecture,
  config: Config,
  tokens = 512,
): Promise<TrainingSpeed> {
  const { layers: all } = partSizes(architecture);
  const fitting = Math.floor(PROBE_PARAMETERS / (all / architecture.numLayers));
  const probe: Architecture = {
    ...architecture,
    numLayers: Math.min(architecture.numLayers, Math.max(1, fitting)),
    vocabSize: Math.min(architecture.vocabSize, PROBE_VOCABULARY),
  };
  const model = await Model.create(probe, modelOptions(config));
  try {
    await model.loadRandom(config.seed);
    await model.finalize();
    await model.attachLora(loraOptions(config));
    const batch = probeBatch(tokens);
    await using trainer = await Trainer.create(model, {
      maxTokens: tokens,
      maxSequences: SEQUENCES,
      maxTargets: batch.targetRows.length,
      recompute: "none",
    });
    let seconds = Infinity;
    for (let turn = 0; turn < 2; turn++) {
      const begun = performance.now();
      await trainer.accumulate(batch);
      seconds = Math.min(seconds, (performance.now() - begun) / 1000);
    }
    const work = trainingWork(probe, { tokens, targets: batch.targetRows.length, recomputed: 0 });
    return { layers: probe.numLayers, tokens, seconds, flops: work / seconds };
  } finally {
    await model.close();
  }
}
