/** Step 3, notebook 03_train and `deno task train`: samples → adapter, log and checkpoints. */
import type { Config } from "@lib/config.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Model } from "@lib/engine/model.ts";
import type { LogEvent } from "@lib/experiment/log.ts";
import type { Run } from "@lib/experiment/run.ts";
import type { OnPhase, OnProgress } from "@lib/phases.ts";
import { loadTrainingData, type TrainingData } from "@lib/training/data.ts";
import { planRun, type TrainingPlan } from "@lib/training/plan.ts";
import { train, type TrainReport } from "@lib/training/train.ts";
import {
  attachTrainingLora,
  modelFolder,
  openModel,
  type OpenModelOptions,
  openTokenizer,
  trainingLora,
} from "@lib/workflow/model.ts";
import { loadArchitecture } from "@lib/weights/folder.ts";

/** A run ready to train: nothing heavy is loaded yet. */
export interface PreparedTraining {
  readonly tokenizer: Tokenizer;
  readonly data: TrainingData;
  readonly plan: TrainingPlan;
}

/**
 * Encodes the samples and plans steps and memory, before the weights are touched.
 *
 * @param onPhase told how many conversations are encoded
 * @throws {MemoryPlanError | RunError | TrainingDataError}
 */
export async function prepareTraining(
  run: Run,
  config: Config,
  onPhase?: OnPhase,
): Promise<PreparedTraining> {
  const architecture = await loadArchitecture(await modelFolder(config));
  const tokenizer = await openTokenizer(config);
  const data = await loadTrainingData(run, config, tokenizer, onPhase);
  const plan = planRun(architecture, config, data, await trainingLora(config));
  return { tokenizer, data, plan };
}

/** Loads the base model as the plan lays it out and attaches what training starts from. */
export async function openTrainingModel(
  config: Config,
  plan: TrainingPlan,
  options: Omit<OpenModelOptions, "model"> = {},
): Promise<Model> {
  const model = await openModel(config, { model: plan.model, ...options });
  try {
    await attachTrainingLora(model, config);
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Who is told what while a run trains. */
export interface TrainOptions {
  /** Every log event as it is written, with the number of steps planned. */
  readonly onEvent?: (event: LogEvent, totalSteps: number) => void;
  /** How far the weights are loaded. */
  readonly onLoad?: OpenModelOptions["onProgress"];
  /** How many conversations are encoded. */
  readonly onPhase?: OnPhase | undefined;
  /** How many samples of a validation are measured. */
  readonly onValidation?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The whole step for scripts: prepares, loads, trains, frees. */
export async function trainStep(
  run: Run,
  config: Config,
  options: TrainOptions = {},
): Promise<TrainReport> {
  const { onEvent, onLoad, onPhase, onValidation, signal } = options;
  const { data, plan } = await prepareTraining(run, config, onPhase);
  await run.saveConfig(config);
  const model = await openTrainingModel(config, plan, {
    ...(signal ? { signal } : {}),
    ...(onLoad ? { onProgress: onLoad } : {}),
  });
  try {
    const events = train({ run, config, model, data, plan, onValidation }, signal);
    for (;;) {
      const next = await events.next();
      if (next.done === true) return next.value;
      onEvent?.(next.value, plan.totalSteps);
    }
  } finally {
    await model.close();
  }
}
