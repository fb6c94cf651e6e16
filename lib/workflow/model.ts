/** The model of a run: base, tokenizer, adapter. */
import type { Config } from "@lib/config.ts";
import { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { LoraOptions, Model, ModelOptions } from "@lib/engine/model.ts";
import { projectPath, type Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { answeringOptions, loraOptions } from "@lib/training/plan.ts";
import { findBaseModel } from "@lib/workflow/local_models.ts";
import { loadAdapter, loadAdapterConfig } from "@lib/weights/adapter.ts";
import { loadModelCached } from "@lib/weights/cached_load.ts";
import { loadAdapterPlan } from "@lib/weights/peft_plan.ts";
import {
  loadArchitecture,
  loadModel,
  type LoadProgress,
  ModelFolderError,
} from "@lib/weights/folder.ts";

/**
 * Folder of the configured base model: `model.base` itself, or its place in the hub's cache.
 *
 * @throws {ModelFolderError} not on this machine, with what to do
 */
export async function modelFolder(config: Config): Promise<string> {
  const { base } = config.model;
  const model = await findBaseModel(base);
  if (model.folder !== null) return model.folder;
  const step = model.command === null
    ? "Give a Hugging Face model folder or a name on the hub with --model"
    : `Fetch it with: ${model.command}`;
  throw new ModelFolderError(
    `model.base '${base}': expected a model (config.json, tokenizer, safetensors), found none ` +
      `complete in ${model.place}: no ${
        model.missing.join(", ")
      }. ${step}; or use the model that ` +
      'ships with the course: --profile tiny (model.base "data/tiny-llama").',
  );
}

/** Loads the tokenizer of the configured base model. */
export async function openTokenizer(config: Config): Promise<Tokenizer> {
  return await Tokenizer.load(await modelFolder(config));
}

/** Options of {@linkcode openModel}. */
export interface OpenModelOptions {
  /** How to create the model. @default what the configuration says, laid out for answering */
  readonly model?: ModelOptions;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/** Loads the configured base model, without any adapter. */
export async function openModel(config: Config, options: OpenModelOptions = {}): Promise<Model> {
  const folder = await modelFolder(config);
  const { model = answeringOptions(await loadArchitecture(folder), config), ...loading } = options;
  const load = config.model.quantized_cache ? loadModelCached : loadModel;
  return await load(folder, { ...model, ...loading });
}

/** LoRA settings training will use: those of `model.adapter` when one is given. */
export async function trainingLora(config: Config): Promise<LoraOptions> {
  if (config.model.adapter === null) return loraOptions(config);
  const own = await loadAdapterConfig(projectPath(config.model.adapter));
  return { ...own, dropout: config.lora.dropout };
}

/** What the engine holds in another form than the adapter that training starts from; see there. */
export async function startingAdapterNotes(config: Config): Promise<readonly string[]> {
  const { adapter } = config.model;
  return adapter === null ? [] : (await loadAdapterPlan(projectPath(adapter))).notes;
}

/** Attaches what training starts from: the given adapter, or a fresh one that changes nothing. */
export async function attachTrainingLora(model: Model, config: Config): Promise<void> {
  if (config.model.adapter === null) await model.attachLora(loraOptions(config));
  else await loadAdapter(projectPath(config.model.adapter), model, config.lora.dropout);
}

/**
 * Attaches the adapter to answer with: the run's own, or `model.adapter` when the run trained none.
 *
 * @throws {RunError} when there is neither
 */
export async function attachTunedLora(model: Model, run: Run, config: Config): Promise<string> {
  const own = `${run.adapter}/adapter_config.json`;
  const given = config.model.adapter;
  if (!await exists(own) && given !== null) {
    await loadAdapter(projectPath(given), model);
    return projectPath(given);
  }
  await run.require(own, "03_train (deno task train)");
  await loadAdapter(run.adapter, model);
  return run.adapter;
}
