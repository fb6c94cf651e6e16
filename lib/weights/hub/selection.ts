/** Which files of a repository the course needs. */
import { z } from "zod";
import { HubError } from "./error.ts";
import type { RemoteFile, Repository } from "./remote_file.ts";

/** Files without which a model folder is of no use here. */
export const REQUIRED_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json"] as const;

/** Small files taken where they are there. */
const OPTIONAL_FILES = [
  "generation_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  "chat_template.json",
  "1_Pooling/config.json",
] as const;

export const SINGLE_WEIGHTS = "model.safetensors";
export const WEIGHTS_INDEX = "model.safetensors.index.json";
/** Weights of a sentence encoder, where a repository has no safetensors. */
export const ONNX_WEIGHTS = "onnx/model.onnx";

/** What {@linkcode selectFiles} found. */
export interface Selection {
  /** Configuration, tokenizer, and the weights' index where there are shards. */
  readonly small: readonly RemoteFile[];
  /** The weights; null: the index must be read first. */
  readonly weights: readonly RemoteFile[] | null;
}

/**
 * Chooses configuration, tokenizer and safetensors weights of a repository, and nothing else; of a
 * sentence encoder that has none, its ONNX file.
 *
 * @throws {HubError} a repository the course cannot use, with what it is instead
 */
export function selectFiles(repository: Repository): Selection {
  const { name } = repository;
  const files = new Map(repository.files.map((file) => [file.path, file]));
  for (const path of REQUIRED_FILES) {
    if (!files.has(path)) throw new HubError("unsupported", unusable(name, path, files));
  }
  const wanted: readonly string[] = [...REQUIRED_FILES, ...OPTIONAL_FILES];
  const small = wanted.map((path) => files.get(path)).filter((file) => file !== undefined);
  const single = files.get(SINGLE_WEIGHTS);
  if (single !== undefined) return { small, weights: [single] };
  const index = files.get(WEIGHTS_INDEX);
  const onnx = files.get(ONNX_WEIGHTS);
  if (index === undefined && onnx !== undefined) return { small, weights: [onnx] };
  if (index === undefined) {
    throw new HubError("unsupported", unusable(name, `${SINGLE_WEIGHTS} or its index`, files));
  }
  return { small: [...small, index], weights: null };
}

function unusable(name: string, lacking: string, files: ReadonlyMap<string, unknown>): string {
  const paths = [...files.keys()];
  const what = paths.includes("adapter_config.json")
    ? "It is an adapter: fetch the base model that its page names."
    : paths.some((path) => path.endsWith(".gguf"))
    ? "It holds GGUF files: choose the repository of the original model."
    : paths.some((path) => /\.(bin|pth|pt)$/.test(path))
    ? "It holds older weights only: choose a repository with safetensors."
    : "Choose another repository.";
  return `${name}: expected ${lacking} among its files, found none. ${what}`;
}

const Index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/**
 * Names of the shards in the text of `model.safetensors.index.json`.
 *
 * @throws {HubError} text that is no index, or shards outside the folder
 */
export function shardNames(text: string, name: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const index = Index.safeParse(value);
  const shards = index.success ? [...new Set(Object.values(index.data.weight_map))].sort() : [];
  if (shards.length === 0 || !shards.every((shard) => /^[\w.-]+\.safetensors$/.test(shard))) {
    throw new HubError(
      "unsupported",
      `${name}: expected a list of shards in ${WEIGHTS_INDEX}, found none that can be read. ` +
        "Choose another repository.",
    );
  }
  return shards;
}

/** The shards among a repository's files. @throws {HubError} one that is not there */
export function selectShards(repository: Repository, shards: readonly string[]): RemoteFile[] {
  const files = new Map(repository.files.map((file) => [file.path, file]));
  return shards.map((shard) => {
    const file = files.get(shard);
    if (file !== undefined) return file;
    throw new HubError(
      "unsupported",
      `${repository.name}: ${WEIGHTS_INDEX} names ${shard}, which is not among the files. ` +
        "The repository is not whole: choose another, or tell its owner.",
    );
  });
}
