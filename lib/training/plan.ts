/** How a run will be cut: steps, micro-batches, memory. Decided before anything is loaded. */
import type { Config } from "@lib/config.ts";
import { adapterParameters, type Architecture } from "@lib/engine/architecture.ts";
import { type MemoryReport, parseBytes } from "@lib/engine/memory.ts";
import {
  type HostTensors,
  type LoraOptions,
  type ModelOptions,
  planModel,
  planTraining,
  type TrainOptions,
} from "@lib/engine/model.ts";
import { loadLibrary } from "@lib/engine/library.ts";
import { expectedRates, stepSeconds, type StepShape } from "@lib/training/cost.ts";
import type { TrainingData } from "@lib/training/data.ts";
import { planMicroBatches } from "@lib/training/packing.ts";

/** A run that does not fit the memory it may use. */
export class MemoryPlanError extends Error {
  override readonly name = "MemoryPlanError";
}

/** Everything that follows from configuration and data. */
export interface TrainingPlan {
  /** With what the plan puts into host memory. */
  readonly model: ModelOptions;
  readonly lora: LoraOptions;
  readonly trainer: TrainOptions;
  readonly memory: MemoryReport;
  /** Of an optimiser step, by the estimate the plan was chosen by. */
  readonly stepSeconds: number;
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
  const fit = fitMicroBatch(architecture, config, data, modelOptions(config), lora);
  return {
    model: fit.model,
    lora,
    trainer: fit.trainer,
    memory: fit.memory,
    stepSeconds: fit.seconds,
    stepsPerEpoch,
    totalSteps,
    evalEvery,
    saveEvery: training.save_every ?? evalEvery,
  };
}

/** A setting that fits, and how long an optimiser step takes with it. */
interface Candidate {
  readonly model: ModelOptions;
  readonly trainer: TrainOptions;
  readonly memory: MemoryReport;
  readonly seconds: number;
}

/**
 * What may go to host memory, in the order of what it costs: a row a token, the moments once an
 * optimiser step, the whole head once a micro-batch.
 */
export function hostChoices(backend: "cpu" | "cuda", a: Architecture): readonly HostTensors[][] {
  if (backend === "cpu") return [[]];
  const embeddings: HostTensors[] = a.tieWordEmbeddings ? [] : ["embeddings"];
  const choices: HostTensors[][] = [[], [...embeddings, "optimizer"], [
    ...embeddings,
    "optimizer",
    "head",
  ]];
  if (embeddings.length > 0) choices.splice(1, 0, embeddings);
  return choices;
}

/** Micro-batch sizes worth trying, from a whole optimiser step down to the longest sample. */
function tokenChoices(
  config: Config,
  data: TrainingData,
  backend: "cpu" | "cuda",
  longest: number,
): readonly number[] {
  const given = config.training.micro_batch_tokens;
  if (given !== null) return [given];
  const lengths = data.train.samples.map((s) => s.tokens.length - data.prefixLength);
  const size = config.training.batch_size;
  // Steps are drawn anew every epoch: a few per cent above the largest of one order.
  const largest = Math.max(...inSteps(lengths, size).map((step) => step.reduce((a, b) => a + b)));
  const own = Math.min(Math.ceil(1.05 * largest), size * (longest - data.prefixLength));
  const choices = new Set<number>();
  for (let part = own; data.prefixLength + part > longest; part = Math.ceil(part / 1.1)) {
    choices.add(Math.min(data.prefixLength + part, Math.max(longest, USEFUL_TOKENS[backend])));
  }
  return [...choices.add(longest)];
}

function inSteps<T>(items: readonly T[], size: number): T[][] {
  const steps = [];
  for (let i = 0; i < items.length; i += size) steps.push(items.slice(i, i + size));
  return steps;
}

/** The mean optimiser step of the first few, packed into micro-batches of so many tokens. */
function meanStep(config: Config, data: TrainingData, trainer: TrainOptions): StepShape {
  const steps = inSteps(data.train.samples, config.training.batch_size).slice(0, 64);
  let [microBatches, tokens, targets] = [0, 0, 0];
  for (const samples of steps) {
    for (const group of planMicroBatches(samples, data.prefixLength, trainer)) {
      microBatches++;
      tokens += data.prefixLength;
      for (const { tokens: all, answerStart } of group) {
        tokens += all.length - data.prefixLength;
        targets += all.length - (config.training.loss_on === "all" ? 1 : answerStart);
      }
    }
  }
  const mean = (sum: number) => sum / steps.length;
  return { microBatches: mean(microBatches), tokens: mean(tokens), targets: mean(targets) };
}

/**
 * Model settings for answering: embeddings, and then the head, go to host memory where the base and
 * its adapter would leave less than an eighth of the memory to keys, values and activations.
 */
export function answeringOptions(
  architecture: Architecture,
  config: Config,
  lora: LoraOptions = loraOptions(config),
): ModelOptions {
  const model = modelOptions(config);
  const { backend } = loadLibrary(config.engine.backend).description;
  const choices = hostChoices(backend, architecture)
    .map((tensors) => tensors.filter((name) => name !== "optimizer"));
  for (const hostMemory of choices) {
    const candidate = { ...model, hostMemory };
    const { report } = planModel(architecture, candidate, lora);
    if (report.total <= memoryLimit(model, report) * 7 / 8) return candidate;
  }
  return { ...model, hostMemory: choices.at(-1) ?? [] };
}

/** What a plan may promise of the memory there is: measured peaks lie within 3 % of plans. */
const ROOM = 0.97;

function memoryLimit({ memoryBudget = 0 }: ModelOptions, report: MemoryReport): number {
  const reachable = report.device_free + report.context;
  return memoryBudget > 0 ? Math.min(memoryBudget, reachable) : reachable;
}

/** The fastest setting, by estimate, among those that fit. */
function fitMicroBatch(
  architecture: Architecture,
  config: Config,
  data: TrainingData,
  model: ModelOptions,
  lora: LoraOptions,
): Candidate {
  const longest = Math.max(...data.train.samples.map((s) => s.tokens.length));
  const given = config.training.micro_batch_tokens;
  if (given !== null && given < longest) {
    throw new MemoryPlanError(
      `training.micro_batch_tokens: expected at least ${longest}, the longest sample, ` +
        `found ${given}.`,
    );
  }
  const { description } = loadLibrary(config.engine.backend);
  const rates = expectedRates(description);
  const trainable = adapterParameters(architecture, lora);
  let best: Candidate | null = null;
  let tight: Candidate | null = null;
  let problem = "";
  for (const tokens of tokenChoices(config, data, description.backend, longest)) {
    const trainer = trainOptions(config, tokens);
    const shape = meanStep(config, data, trainer);
    for (const hostMemory of hostChoices(description.backend, architecture)) {
      const candidate = { ...model, hostMemory };
      const plan = planTraining(architecture, candidate, lora, trainer);
      if (plan.problem !== null) {
        problem = plan.problem;
        continue;
      }
      const planned = { report: plan.report, host: hostMemory, trainable };
      const seconds = stepSeconds(architecture, shape, planned, rates);
      const found = { model: candidate, trainer, memory: plan.report, seconds };
      if (plan.report.total > ROOM * memoryLimit(model, plan.report)) tight = found;
      else if (best === null || seconds < best.seconds) best = found;
    }
  }
  // The last one tried takes the least memory.
  if (best === null && tight === null) throw new MemoryPlanError(problem);
  return (best ?? tight)!;
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
