/** How a run will be cut: steps, micro-batches, memory. Decided before anything is loaded. */
import type { Config } from "@lib/config.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import { type MemoryReport, parseBytes } from "@lib/engine/memory.ts";
import {
  type LoraOptions,
  type ModelOptions,
  planTraining,
  type TrainOptions,
} from "@lib/engine/model.ts";
import { loadLibrary } from "@lib/engine/library.ts";
import type { TrainingData } from "@lib/training/data.ts";

/** A run that does not fit the memory it may use. */
export class MemoryPlanError extends Error {
  override readonly name = "MemoryPlanError";
}

/** Everything that follows from configuration and data. */
export interface TrainingPlan {
  readonly model: ModelOptions;
  readonly lora: LoraOptions;
  readonly trainer: TrainOptions;
  readonly memory: MemoryReport;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly evalEvery: number;
  readonly saveEvery: number;
}

/** Tokens beyond which a larger micro-batch gains nothing, by backend. */
const USEFUL_TOKENS = { cpu: 4096, cuda: 16384 } as const;

/** Model settings as the engine takes them. */
export function modelOptions(config: Config): ModelOptions {
  return {
    quantization: config.model.quantization,
    backend: config.engine.backend,
    threads: config.engine.threads,
    device: config.engine.device,
    memoryBudget: config.engine.memory === null ? 0 : parseBytes(config.engine.memory),
  };
}

/** LoRA settings as the engine takes them. */
export function loraOptions(config: Config): LoraOptions {
  return {
    r: config.lora.r,
    alpha: config.lora.alpha,
    dropout: config.lora.dropout,
    targetModules: config.lora.target_modules,
    useRslora: config.lora.use_rslora,
    seed: config.seed,
  };
}

/**
 * Cuts the run.
 *
 * @param lora the adapter's own settings when training starts from one
 * @throws {MemoryPlanError} when even the smallest micro-batch does not fit, with what would
 */
export function planRun(
  architecture: Architecture,
  config: Config,
  data: TrainingData,
  lora: LoraOptions = loraOptions(config),
): TrainingPlan {
  const { training } = config;
  const count = data.train.samples.length;
  const stepsPerEpoch = Math.ceil(count / training.batch_size);
  const totalSteps = Math.min(
    Math.ceil(stepsPerEpoch * training.epochs),
    training.max_steps ?? Infinity,
  );
  const evalEvery = training.eval_every ?? Math.max(1, Math.ceil(totalSteps / 10));
  const model = modelOptions(config);
  const { trainer, memory } = fitMicroBatch(architecture, config, data, model, lora);
  return {
    model,
    lora,
    trainer,
    memory,
    stepsPerEpoch,
    totalSteps,
    evalEvery,
    saveEvery: training.save_every ?? evalEvery,
  };
}

function fitMicroBatch(
  architecture: Architecture,
  config: Config,
  data: TrainingData,
  model: ModelOptions,
  lora: LoraOptions,
): { trainer: TrainOptions; memory: MemoryReport } {
  const longest = Math.max(...data.train.samples.map((s) => s.tokens.length));
  const own = longest - data.prefixLength;
  const backend = loadLibrary(config.engine.backend).description.backend;
  const wholeStep = data.prefixLength + config.training.batch_size * own;
  let tokens = config.training.micro_batch_tokens ??
    Math.min(wholeStep, Math.max(USEFUL_TOKENS[backend], longest));
  if (tokens < longest) {
    throw new MemoryPlanError(
      `training.micro_batch_tokens: expected at least ${longest}, the longest sample, ` +
        `found ${tokens}.`,
    );
  }
  for (;;) {
    const trainer = trainOptions(config, tokens);
    const plan = planTraining(architecture, model, lora, trainer);
    if (plan.problem === null) return { trainer, memory: plan.report };
    if (config.training.micro_batch_tokens !== null || tokens === longest) {
      throw new MemoryPlanError(plan.problem);
    }
    tokens = Math.max(longest, Math.floor(tokens / 2));
  }
}

function trainOptions(config: Config, maxTokens: number): TrainOptions {
  const { training } = config;
  const maxSequences = Math.min(training.batch_size, maxTokens);
  return {
    maxTokens,
    maxSequences,
    maxTargets: maxTokens + maxSequences,
    recompute: training.gradient_checkpointing,
    beta1: training.beta1,
    beta2: training.beta2,
    epsilon: training.epsilon,
    weightDecay: training.weight_decay,
    maxGradNorm: training.max_grad_norm,
    dropoutSeed: config.seed,
  };
}
