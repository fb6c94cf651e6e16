/** A checkpoint of a few kilobytes, whole or in two shards, and files with any header. */
import { parseArchitecture } from "@lib/engine/architecture.ts";
import { saveJson } from "@lib/files.ts";
import { randomInt, seededRandom } from "@lib/random.ts";
import { expectedTensors } from "@lib/weights/checkpoint.ts";
import { saveSafetensors, type TensorData } from "@lib/weights/safetensors.ts";

export const CONFIG = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 10,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
};
export const ARCHITECTURE = parseArchitecture(CONFIG, "config.json");

export type Tensors = Map<string, TensorData>;

/** Random bf16 tensors for every name the architecture has. */
export function tinyTensors(seed = 1): Tensors {
  const random = seededRandom(seed);
  const tensors: Tensors = new Map();
  for (const [name, { shape }] of expectedTensors(ARCHITECTURE)) {
    const data = new Uint8Array(2 * shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < data.length; i += 2) {
      data[i] = randomInt(random, 256);
      data[i + 1] = 0x3c + 0x80 * randomInt(random, 2); // about ±.01
    }
    tensors.set(name, { dtype: "BF16", shape, data });
  }
  return tensors;
}

/** Runs with a folder that holds `config.json`, and removes it. */
export async function withFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    await saveJson(`${folder}/config.json`, CONFIG);
    return await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export const saveWhole = (folder: string, tensors: Tensors) =>
  saveSafetensors(`${folder}/model.safetensors`, tensors, { format: "pt" });

export const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/** Two shards and their index. @returns the index's `weight_map` */
export async function saveSharded(
  folder: string,
  tensors: Tensors,
): Promise<Record<string, string>> {
  const all = [...tensors];
  const half = Math.ceil(all.length / 2);
  const weightMap: Record<string, string> = {};
  for (const [i, part] of [all.slice(0, half), all.slice(half)].entries()) {
    const shard = SHARDS[i] ?? "";
    await saveSafetensors(`${folder}/${shard}`, new Map(part), { format: "pt" });
    for (const [name] of part) weightMap[name] = shard;
  }
  await saveIndex(folder, weightMap);
  return weightMap;
}

export const saveIndex = (folder: string, weightMap: unknown) =>
  saveJson(`${folder}/model.safetensors.index.json`, { metadata: {}, weight_map: weightMap });

/** The bytes of a file with this header text; its length field is right. */
export function fileWith(header: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}
