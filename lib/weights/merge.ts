/** Merging an adapter into its base model: a checkpoint that needs neither adapter nor this project. */
import { exists, saveJson } from "@lib/files.ts";
import { Checkpoint, type RowBlock } from "@lib/weights/checkpoint_rows.ts";
import { encodeFloats, FLOAT_BYTES } from "@lib/weights/floats.ts";
import { ModelFolderError } from "@lib/weights/folder.ts";
import { addUpdate, loadLowRank, type LowRankAdapter } from "@lib/weights/low_rank.ts";
import { saveStream } from "@lib/weights/stream_file.ts";

/** Progress of a merge or an export. */
export interface ExportProgress {
  readonly tensor: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** Options of {@linkcode openMerged}. */
export interface MergeOptions {
  /** Merge into dequantised weights when the base is there only in 4 bits. @default {false} */
  readonly dequantize?: boolean;
}

/** A base model with an adapter added as its weights are read. */
export class MergedModel implements Disposable {
  private constructor(readonly base: Checkpoint, readonly adapter: LowRankAdapter | null) {}

  /**
   * Opens base and adapter.
   *
   * @param adapter a PEFT folder; null: the base as it is
   * @throws {ModelFolderError} a base that is there only in 4 bits, unless `dequantize`
   * @throws {AdapterError} an adapter of another kind or for another model
   */
  static async open(
    base: string,
    adapter: string | null,
    options: MergeOptions = {},
  ): Promise<MergedModel> {
    const checkpoint = await Checkpoint.open(base);
    try {
      if (checkpoint.isQuantized && options.dequantize !== true) {
        throw new ModelFolderError(
          `${base}: expected the original bf16, fp16 or fp32 weights, found NF4: what 4 bits lost ` +
            "would be lost in the merged model too. Give the original model with --model, export " +
            "only the adapter (--to gguf-adapter), or accept the loss with --dequantize.",
        );
      }
      const lowRank = adapter === null ? null : await loadLowRank(adapter, checkpoint.architecture);
      return new MergedModel(checkpoint, lowRank);
    } catch (error) {
      checkpoint[Symbol.dispose]();
      throw error;
    }
  }

  /** A weight's merged rows, block after block; see {@linkcode Checkpoint.blocks}. */
  async *blocks(name: string, multiple = 1): AsyncGenerator<RowBlock> {
    const update = this.adapter?.updates.get(name);
    for await (const block of this.base.blocks(name, multiple)) {
      if (update !== undefined) addUpdate(block, update);
      yield block;
    }
  }

  [Symbol.dispose](): void {
    this.base[Symbol.dispose]();
  }
}

/** Files of a model folder that go along unchanged, where they are. */
const COMPANIONS = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "chat_template.json",
  "LICENSE",
  "LICENSE.txt",
  "USE_POLICY.md",
];

/**
 * Writes the merged model as a Hugging Face folder: the same file names, tensors and dtypes as the
 * base, each number computed in fp32 or finer and rounded once. Memory in use is one block of rows.
 *
 * @param folder made if missing; every file is replaced atomically
 * @returns bytes of weights written
 */
export async function saveMerged(
  model: MergedModel,
  folder: string,
  onProgress?: (progress: ExportProgress) => void,
  signal?: AbortSignal,
): Promise<number> {
  const { base } = model;
  await refuseSameFolder(base.folder, folder);
  await Deno.mkdir(folder, { recursive: true });
  const all = [...base.tensors.values()];
  const bytesOf = (t: typeof all[number]) => t.rows * t.columns * FLOAT_BYTES[t.dtype];
  const bytesTotal = all.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  let bytesDone = 0;
  for (const shard of base.shards) {
    const tensors = all.filter((tensor) => tensor.shard === shard);
    await saveStream(
      `${folder}/${shard}`,
      shardChunks(model, tensors, bytesOf, (name, bytes) => {
        signal?.throwIfAborted();
        bytesDone += bytes;
        onProgress?.({ tensor: name, bytesDone, bytesTotal });
      }),
    );
  }
  if (base.shards.length > 1) {
    const weightMap = Object.fromEntries(all.map(({ name, shard }) => [name, shard]));
    await saveJson(`${folder}/model.safetensors.index.json`, {
      metadata: { total_size: bytesTotal },
      weight_map: weightMap,
    });
  }
  for (const name of COMPANIONS) await copyFile(`${base.folder}/${name}`, `${folder}/${name}`);
  const { quantization_config: _, ...config } = base.config;
  await saveJson(`${folder}/config.json`, config);
  return bytesTotal;
}

type Tensor = Checkpoint["tensors"] extends Map<string, infer T> ? T : never;

async function* shardChunks(
  model: MergedModel,
  tensors: readonly Tensor[],
  bytesOf: (tensor: Tensor) => number,
  onBlock: (name: string, bytes: number) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    header[name] = { dtype, shape, data_offsets: [end, end + bytesOf(tensor)] };
    end += bytesOf(tensor);
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true);
  yield length;
  yield padded;
  for (const { name, dtype } of tensors) {
    for await (const { values } of model.blocks(name)) {
      const bytes = encodeFloats(values, dtype);
      yield bytes;
      onBlock(name, bytes.length);
    }
  }
}

async function refuseSameFolder(base: string, folder: string): Promise<void> {
  if (!await exists(folder)) return;
  if (await Deno.realPath(base) !== await Deno.realPath(folder)) return;
  throw new ModelFolderError(
    `${folder}: expected a folder of its own for the merged model, found the base model itself. ` +
      "Give another one with --out DIR.",
  );
}

async function copyFile(from: string, to: string): Promise<void> {
  if (!await exists(from)) return;
  await saveStream(to, [await Deno.readFile(from)]);
}
