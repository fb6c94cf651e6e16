/** A Hugging Face model folder: its architecture and its tensors, loaded into the engine. */
import { z } from "zod";
import { type Architecture, parseArchitecture } from "@lib/engine/architecture.ts";
import { Model, type ModelOptions, type Quantization } from "@lib/engine/model.ts";
import { exists, loadJson } from "@lib/files.ts";
import {
  checkContents,
  type CheckpointContents,
  CheckpointError,
  type WeightMap,
} from "@lib/weights/checkpoint.ts";
import { SafetensorsFile } from "@lib/weights/safetensors.ts";
import { duplicateKey } from "@lib/weights/safetensors_header.ts";
import { type StreamOptions, streamTensors } from "@lib/weights/tensor_stream.ts";

export type { LoadProgress } from "@lib/weights/tensor_stream.ts";

/** A model folder that lacks something. */
export class ModelFolderError extends Error {
  override readonly name = "ModelFolderError";
}

const Index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** A shard's name: a file of the folder itself. */
const SHARD = /^[^/\\:]+\.safetensors$/;

/** Options of {@linkcode loadModel}. */
export interface LoadOptions extends ModelOptions, StreamOptions {}

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
 * Loads a model folder into the engine. Everything is checked first; then the tensors pass one by one
 * through two buffers: memory is bounded by the largest tensor plus 256 MB, whatever the checkpoint's
 * size. Linears that are 4-bit already (bitsandbytes NF4) are taken as they are.
 *
 * @param folder with `config.json` and `model.safetensors`, or its shards and index
 * @throws {ModelFolderError | CheckpointError | SafetensorsError | EngineError} naming the file or tensor
 * @throws the signal's reason; nothing stays loaded
 */
export async function loadModel(folder: string, options: LoadOptions = {}): Promise<Model> {
  const architecture = await loadArchitecture(folder);
  using checkpoint = await openCheckpoint(folder, architecture);
  const quantization = quantizationFor(folder, checkpoint, options.quantization);
  return await createLoaded(architecture, { ...options, quantization }, checkpoint);
}

/**
 * A model of these tensors, finalised.
 *
 * @param checksums by tensor name, when what is read shall be compared with them
 */
export async function createLoaded(
  architecture: Architecture,
  options: LoadOptions,
  { tensors }: CheckpointContents,
  checksums?: ReadonlyMap<string, string>,
): Promise<Model> {
  const model = await Model.create(architecture, options);
  try {
    await streamTensors(model, tensors, options, checksums);
    await model.finalize();
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** The safetensors files of a folder, whole paths. */
export async function weightFiles(folder: string): Promise<string[]> {
  return (await locateWeights(folder)).paths;
}

interface Located {
  readonly paths: string[];
  readonly index: WeightMap | null;
}

async function locateWeights(folder: string): Promise<Located> {
  const single = `${folder}/model.safetensors`;
  if (await exists(single)) return { paths: [single], index: null };
  const indexPath = `${folder}/model.safetensors.index.json`;
  if (!await exists(indexPath)) {
    throw new ModelFolderError(
      `${folder}: expected model.safetensors or model.safetensors.index.json, found neither. ` +
        "Only safetensors checkpoints are read.",
    );
  }
  const index = await loadIndex(indexPath);
  const shards = [...new Set(index.values())].sort();
  for (const shard of shards) {
    if (!SHARD.test(shard) || !await exists(`${folder}/${shard}`)) {
      throw new ModelFolderError(
        `${indexPath}: expected the shard ${shard} in ${folder}, found nothing. ` +
          "Fetch the model again.",
      );
    }
  }
  return { paths: shards.map((shard) => `${folder}/${shard}`), index };
}

async function loadIndex(path: string): Promise<WeightMap> {
  const value = await loadJson(path, "Fetch the model again.");
  const parsed = Index.safeParse(value);
  if (!parsed.success) {
    throw new ModelFolderError(
      `${path}: ${z.prettifyError(parsed.error)}. Fetch the model again.`,
    );
  }
  const twice = duplicateKey(await Deno.readTextFile(path));
  if (twice !== null) {
    throw new ModelFolderError(
      `${path}: expected each tensor once, found '${twice}' twice. Fetch the model again.`,
    );
  }
  return new Map(Object.entries(parsed.data.weight_map));
}

/** A checkpoint whose headers, names, dtypes and shapes have been checked. */
export interface OpenCheckpoint extends CheckpointContents, Disposable {}

/**
 * Opens the safetensors files of a folder and checks all that can be known before reading weights.
 *
 * @throws {ModelFolderError | CheckpointError | SafetensorsError} naming the file or tensor
 */
export async function openCheckpoint(
  folder: string,
  architecture: Architecture,
): Promise<OpenCheckpoint> {
  const { paths, index } = await locateWeights(folder);
  const files: SafetensorsFile[] = [];
  const close = () => files.forEach((file) => file[Symbol.dispose]());
  try {
    for (const path of paths) files.push(await SafetensorsFile.open(path));
    const contents = checkContents(folder, files, index, architecture);
    return { ...contents, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The checkpoint's own form when it is 4-bit, else what was asked for. */
export function quantizationFor(
  folder: string,
  { quantized }: CheckpointContents,
  wanted: Quantization | undefined,
): Quantization {
  if (quantized === null) return wanted ?? "nf4_double";
  if (wanted === undefined || wanted === quantized) return quantized;
  throw new CheckpointError(
    `${folder}: expected weights for model.quantization '${wanted}', found linears that are ` +
      `quantised already, as ${quantized}. Set model.quantization to '${quantized}', or give the ` +
      "unquantised checkpoint.",
  );
}
