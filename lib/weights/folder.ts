/** A Hugging Face model folder: its architecture and its tensors, loaded into the engine. */
import { z } from "zod";
import { type Architecture, parseArchitecture } from "@lib/engine/architecture.ts";
import { type Dtype, DTYPES, Model, type ModelOptions } from "@lib/engine/model.ts";
import { exists, loadJson } from "@lib/files.ts";
import { SafetensorsFile } from "@lib/weights/safetensors.ts";

/** A model folder that lacks something. */
export class ModelFolderError extends Error {
  override readonly name = "ModelFolderError";
}

const Index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** Progress of a load. */
export interface LoadProgress {
  readonly tensor: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** Options of {@linkcode loadModel}. */
export interface LoadOptions extends ModelOptions {
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/**
 * Reads `config.json` of a model folder.
 *
 * @throws {ModelFolderError} no such folder or file, with what a model folder holds
 */
export async function loadArchitecture(folder: string): Promise<Architecture> {
  if (!await exists(`${folder}/config.json`)) {
    throw new ModelFolderError(
      `${folder}: expected a Hugging Face model folder (config.json, tokenizer.json, ` +
        "*.safetensors), found no config.json. Give another folder with --model DIR.",
    );
  }
  const value = await loadJson(`${folder}/config.json`, "Fetch the model again.");
  return parseArchitecture(value, `${folder}/config.json`);
}

/**
 * Loads a model folder into the engine, tensor by tensor.
 *
 * @param folder with `config.json` and `model.safetensors`, or its shards and index
 * @throws {ModelFolderError | SafetensorsError | EngineError} naming the file or tensor
 */
export async function loadModel(folder: string, options: LoadOptions = {}): Promise<Model> {
  const architecture = await loadArchitecture(folder);
  const files = await weightFiles(folder);
  const model = await Model.create(architecture, options);
  try {
    await loadTensors(model, files, options);
    await model.finalize();
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** The safetensors files of a folder, whole paths. */
export async function weightFiles(folder: string): Promise<string[]> {
  const single = `${folder}/model.safetensors`;
  if (await exists(single)) return [single];
  const indexPath = `${folder}/model.safetensors.index.json`;
  if (!await exists(indexPath)) {
    throw new ModelFolderError(
      `${folder}: expected model.safetensors or model.safetensors.index.json, found neither. ` +
        "Only safetensors checkpoints are read.",
    );
  }
  const index = Index.safeParse(await loadJson(indexPath, "Fetch the model again."));
  if (!index.success) {
    throw new ModelFolderError(`${indexPath}: ${z.prettifyError(index.error)}`);
  }
  const shards = [...new Set(Object.values(index.data.weight_map))].sort();
  for (const shard of shards) {
    if (/[/\\]/.test(shard) || !await exists(`${folder}/${shard}`)) {
      throw new ModelFolderError(
        `${indexPath}: expected the shard ${shard} in ${folder}, found nothing. ` +
          "Fetch the model again.",
      );
    }
  }
  return shards.map((shard) => `${folder}/${shard}`);
}

async function loadTensors(
  model: Model,
  paths: readonly string[],
  options: LoadOptions,
): Promise<void> {
  const files: SafetensorsFile[] = [];
  try {
    for (const path of paths) files.push(await SafetensorsFile.open(path));
    const bytesTotal = files.flatMap((f) => [...f.header.tensors.values()])
      .reduce((sum, t) => sum + t.bytes, 0);
    let bytesDone = 0;
    for (const file of files) {
      for (const { name, dtype, shape } of file.header.tensors.values()) {
        options.signal?.throwIfAborted();
        if (isRedundant(name, model.architecture)) continue;
        const { data } = await file.read(name);
        await model.loadTensor(name, engineDtype(dtype, name, file.path), shape, data);
        bytesDone += data.length;
        options.onProgress?.({ tensor: name, bytesDone, bytesTotal });
      }
    }
  } finally {
    for (const file of files) file[Symbol.dispose]();
  }
}

/** Tensors some checkpoints carry although they follow from others. */
function isRedundant(name: string, architecture: Architecture): boolean {
  return (architecture.tieWordEmbeddings && name === "lm_head.weight") ||
    name.endsWith(".rotary_emb.inv_freq");
}

function engineDtype(dtype: string, tensor: string, path: string): Dtype {
  if (Object.hasOwn(DTYPES, dtype)) return dtype as Dtype;
  throw new ModelFolderError(
    `${path}: tensor '${tensor}': expected ${Object.keys(DTYPES).join(", ")}, found ${dtype}.`,
  );
}
