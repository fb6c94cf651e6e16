/** How long a whole checkpoint takes from its files to a model, at first and from the quantised copy. */
import type { Architecture } from "@lib/engine/architecture.ts";
import type { Backend } from "@lib/engine/library.ts";
import { saveJson } from "@lib/files.ts";
import { randomBf16 } from "@lib/bench/quantize.ts";
import { loadModelCached } from "@lib/weights/cached_load.ts";
import { expectedTensors } from "@lib/weights/checkpoint.ts";

/** What it took. */
export interface LoadTimes {
  readonly checkpointBytes: number;
  /** bf16 files → quantised model → quantised copy on disk. */
  readonly firstSeconds: number;
  /** Growth of the process's peak meanwhile; on the CPU it contains the model. */
  readonly firstPeakGrowth: number | null;
  readonly copyBytes: number;
  /** Quantised copy → ready, checksums verified; the file is in the page cache. */
  readonly copySeconds: number;
  readonly copyPeakGrowth: number | null;
  /** Bytes of the loaded model, wherever they are. */
  readonly modelBytes: number;
}

/** Bytes of one file of the checkpoint, about as the hub's are. */
const SHARD_BYTES = 5e9;

function configOf(architecture: Architecture): Record<string, unknown> {
  const { ropeScaling: scaling } = architecture;
  return {
    model_type: architecture.modelType,
    hidden_size: architecture.hiddenSize,
    intermediate_size: architecture.intermediateSize,
    num_hidden_layers: architecture.numLayers,
    num_attention_heads: architecture.numHeads,
    num_key_value_heads: architecture.numKvHeads,
    head_dim: architecture.headDim,
    vocab_size: architecture.vocabSize,
    max_position_embeddings: architecture.maxPosition,
    rms_norm_eps: architecture.rmsNormEps,
    rope_theta: architecture.ropeTheta,
    tie_word_embeddings: architecture.tieWordEmbeddings,
    rope_scaling: scaling === null ? null : {
      rope_type: "llama3",
      factor: scaling.factor,
      low_freq_factor: scaling.lowFreqFactor,
      high_freq_factor: scaling.highFreqFactor,
      original_max_position_embeddings: scaling.originalMaxPosition,
    },
  };
}

/** A tensor of the checkpoint to be written. */
interface Planned {
  readonly name: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** Tensors in files of about `SHARD_BYTES`, in the order of a checkpoint. */
function shardsOf(architecture: Architecture): Planned[][] {
  const shards: Planned[][] = [[]];
  let filled = 0;
  for (const [name, { shape }] of expectedTensors(architecture)) {
    const bytes = 2 * shape.reduce((a, b) => a * b, 1);
    if (filled + bytes > SHARD_BYTES && filled > 0) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push({ name, shape, bytes });
    filled += bytes;
  }
  return shards;
}

async function writeShard(path: string, tensors: readonly Planned[]): Promise<void> {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name, shape, bytes } of tensors) {
    header[name] = { dtype: "BF16", shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const size = new Uint8Array(8);
  new DataView(size.buffer).setBigUint64(0, BigInt(json.length), true);
  using file = await Deno.open(path, { write: true, createNew: true });
  const write = async (data: Uint8Array) => {
    for (let done = 0; done < data.length;) done += await file.write(data.subarray(done));
  };
  await write(size);
  await write(json);
  const pattern = randomBf16(16 << 20);
  for (const { bytes } of tensors) {
    for (let at = 0; at < bytes; at += pattern.length) {
      await write(pattern.subarray(0, Math.min(pattern.length, bytes - at)));
    }
  }
}

/** A checkpoint of random bf16 numbers as the hub has them. @returns its bytes */
async function writeCheckpoint(folder: string, architecture: Architecture): Promise<number> {
  const shards = shardsOf(architecture);
  const map: Record<string, string> = {};
  let total = 0;
  for (const [i, tensors] of shards.entries()) {
    const number = (n: number) => String(n).padStart(5, "0");
    const file = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    await writeShard(`${folder}/${file}`, tensors);
    for (const { name, bytes } of tensors) {
      map[name] = file;
      total += bytes;
    }
  }
  await saveJson(`${folder}/config.json`, configOf(architecture));
  await saveJson(`${folder}/model.safetensors.index.json`, {
    metadata: { total_size: total },
    weight_map: map,
  });
  return total;
}

/** The process's largest resident memory so far, where the system tells. */
function peakBytes(): number | null {
  try {
    const status = Deno.readTextFileSync("/proc/self/status");
    const kilobytes = /VmHWM:\s+(\d+) kB/.exec(status)?.[1];
    return kilobytes === undefined ? null : Number(kilobytes) * 1024;
  } catch {
    return null;
  }
}

/**
 * Writes a checkpoint of that shape into a temporary folder, loads it, loads the copy this left, and
 * removes everything. Takes disk for the checkpoint and its copy: 22 GB for an 8B.
 */
export async function timeLoad(architecture: Architecture, backend: Backend): Promise<LoadTimes> {
  const folder = await Deno.makeTempDir({ prefix: "qlora-load-" });
  const cache = `${folder}/copies`;
  const load = async () => {
    const before = peakBytes();
    const begun = performance.now();
    await using model = await loadModelCached(folder, {
      backend,
      cache,
      worthwhileBytes: 0,
      onMessage: () => {},
    });
    const seconds = (performance.now() - begun) / 1000;
    const after = peakBytes();
    const growth = before === null || after === null ? null : after - before;
    return { seconds, growth, modelBytes: model.memory().total };
  };
  try {
    const checkpointBytes = await writeCheckpoint(folder, architecture);
    const first = await load();
    const [copy] = await Array.fromAsync(Deno.readDir(cache));
    if (copy === undefined) throw new Error(`${cache}: expected the quantised copy, found none.`);
    const { size: copyBytes } = await Deno.stat(`${cache}/${copy.name}`);
    const second = await load();
    return {
      checkpointBytes,
      firstSeconds: first.seconds,
      firstPeakGrowth: first.growth,
      copyBytes,
      copySeconds: second.seconds,
      copyPeakGrowth: second.growth,
      modelBytes: second.modelBytes,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
