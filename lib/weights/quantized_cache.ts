/**
 * Our own copy of a checkpoint after quantisation, so that the next load neither reads four times the
 * bytes nor quantises again. It is a safetensors file in bitsandbytes' NF4 layout (embeddings and norms
 * as the checkpoint has them), whose metadata say what it was made from and each tensor's checksum.
 *
 * It lies in the project (`.cache/quantized`, or `QLORA_CACHE`), not in the hub's cache: the hub's tools
 * count and clean theirs, and a project that is deleted takes its copies along.
 */
import { z } from "zod";
import type { Architecture } from "@lib/engine/architecture.ts";
import { checksum } from "@lib/engine/checksum.ts";
import type { Model, Quantization } from "@lib/engine/model.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import {
  checkContents,
  type CheckpointContents,
  expectedTensors,
  linearParts,
  STATE,
} from "@lib/weights/checkpoint.ts";
import {
  DTYPE_BYTES,
  type SafetensorsDtype,
  SafetensorsError,
  SafetensorsFile,
} from "@lib/weights/safetensors.ts";
import { ReadBuffer } from "@lib/weights/tensor_stream.ts";

/** Written into every copy; another version is made anew. */
const FORMAT = "qlora-quantized-cache";
const VERSION = "1";
const NO_CHECKSUM = "0".repeat(16);

const Checksums = z.record(z.string(), z.string().regex(/^[0-9a-f]{16}$/));

type Form = Exclude<Quantization, "none">;

/** What a copy is made from; one that was made from anything else is stale. */
export interface CacheSource {
  /** JSON of the files' names, sizes and times, the architecture and the quantisation. */
  readonly identity: string;
  /** Where the copy lies. */
  readonly path: string;
  readonly quantization: Form;
}

/** An open copy whose header, names, shapes and source have been checked. */
export interface OpenCache extends CheckpointContents, Disposable {
  readonly checksums: ReadonlyMap<string, string>;
}

/** Folder of the copies: `QLORA_CACHE`, or `.cache/quantized` of the project. */
export function cacheFolder(): string {
  return Deno.env.get("QLORA_CACHE") || `${PROJECT_ROOT}.cache/quantized`;
}

/**
 * What the copy of a checkpoint is named and made from.
 *
 * @param files whole paths of its safetensors files
 * @param cache folder of the copies
 */
export async function cacheSource(
  folder: string,
  files: readonly string[],
  architecture: Architecture,
  quantization: Form,
  cache: string,
): Promise<CacheSource> {
  const real = await Deno.realPath(folder);
  const listed = await Promise.all(files.map(async (file) => {
    const { size, mtime } = await Deno.stat(file);
    return [file.slice(folder.length + 1), size, mtime?.getTime() ?? 0];
  }));
  const identity = JSON.stringify({ folder: real, files: listed, architecture, quantization });
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(real));
  const name = real.replace(/\\/g, "/").split("/").slice(-3).join("-").replace(/[^\w.-]/g, "_");
  const key = new Uint8Array(hash).toHex().slice(0, 8);
  return { identity, path: `${cache}/${name}-${key}.${quantization}.safetensors`, quantization };
}

/**
 * Opens the copy of a checkpoint.
 *
 * @returns null when there is none
 * @throws {SafetensorsError | CheckpointError} stale or damaged, saying which
 */
export async function openCache(
  source: CacheSource,
  architecture: Architecture,
): Promise<OpenCache | null> {
  if (!await exists(source.path)) return null;
  const file = await SafetensorsFile.open(source.path);
  try {
    const { format, version, identity, checksums } = file.header.metadata;
    if (format !== FORMAT || version !== VERSION) {
      throw new SafetensorsError(
        `${source.path}: expected ${FORMAT} ${VERSION}, found ${format} ${version}.`,
      );
    }
    if (identity !== source.identity) {
      throw new SafetensorsError(`${source.path}: the checkpoint has changed since it was made.`);
    }
    const contents = checkContents(source.path, [file], null, architecture);
    const sums = parseChecksums(checksums ?? "", contents, source.path);
    return { ...contents, checksums: sums, [Symbol.dispose]: () => file[Symbol.dispose]() };
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

function parseChecksums(
  text: string,
  { tensors }: CheckpointContents,
  path: string,
): Map<string, string> {
  try {
    const sums = new Map(Object.entries(Checksums.parse(JSON.parse(text))));
    if (tensors.every(({ info }) => sums.has(info.name))) return sums;
  } catch {
    // Said below.
  }
  throw new SafetensorsError(`${path}: expected a checksum of every tensor, found some missing.`);
}

/** A tensor of the copy, and where its bytes come from. */
interface Planned {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly bytes: number;
  fill(into: Uint8Array<ArrayBuffer>): Promise<void>;
}

/**
 * Writes the copy of a loaded model under a temporary name and renames it.
 *
 * @param contents the checkpoint the model was loaded from, still open
 * @returns bytes written
 * @throws whatever the disk says; nothing half written stays
 */
export async function saveCache(
  source: CacheSource,
  model: Model,
  contents: CheckpointContents,
  signal?: AbortSignal,
): Promise<number> {
  const tensors = await planned(source, model, contents, signal);
  await Deno.mkdir(source.path.replace(/[/\\][^/\\]*$/, ""), { recursive: true });
  await removeAbandoned(source.path);
  const temporary = `${source.path}.${crypto.randomUUID().slice(0, 8)}.part`;
  try {
    const bytes = await writeTensors(temporary, source, model, tensors, signal);
    await Deno.rename(temporary, source.path);
    return bytes;
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

const ABANDONED_MS = 3_600_000;

/** Removes what a process that was killed while it wrote this copy left behind an hour ago or more. */
async function removeAbandoned(path: string): Promise<void> {
  const at = path.search(/[^/\\]*$/);
  const [folder, file] = [path.slice(0, at), path.slice(at)];
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith(`${file}.`) || !name.endsWith(".part")) continue;
    const { mtime } = await Deno.stat(folder + name);
    if (Date.now() - (mtime?.getTime() ?? 0) > ABANDONED_MS) await Deno.remove(folder + name);
  }
}

async function planned(
  { quantization }: CacheSource,
  model: Model,
  { tensors }: CheckpointContents,
  signal: AbortSignal | undefined,
): Promise<Planned[]> {
  const expected = expectedTensors(model.architecture);
  const list: Planned[] = [];
  for (const { file, info } of tensors) {
    const { name, dtype, shape, bytes } = info;
    if (expected.get(name)?.linear !== true) {
      list.push({ name, dtype, shape, bytes, fill: (into) => file.readInto(info, into, signal) });
      continue;
    }
    const state = await quantState(model, name, shape, quantization);
    for (const [suffix, part] of linearParts(shape, quantization)) {
      if (suffix === ".quant_map" || suffix === ".nested_quant_map") continue; // constants
      const isState = suffix === STATE;
      const count = isState ? state.length : part.most;
      list.push({
        name: name + suffix,
        dtype: part.dtype,
        shape: suffix === "" ? [count, 1] : [count],
        bytes: count * DTYPE_BYTES[part.dtype],
        fill: (into) =>
          isState ? Promise.resolve(into.set(state)) : model.readPart(name + suffix, into),
      });
    }
  }
  return list;
}

/** The JSON bitsandbytes saves beside a 4-bit weight. */
async function quantState(
  model: Model,
  name: string,
  shape: readonly number[],
  quantization: Form,
): Promise<Uint8Array<ArrayBuffer>> {
  const plain = { quant_type: "nf4", blocksize: 64, dtype: "bfloat16", shape };
  if (quantization === "nf4") return new TextEncoder().encode(JSON.stringify(plain));
  const offset = new Float32Array(1);
  await model.readPart(`${name}.nested_offset`, new Uint8Array(offset.buffer));
  const nested = { nested_blocksize: 256, nested_dtype: "float32", nested_offset: offset[0] };
  return new TextEncoder().encode(JSON.stringify({ ...plain, ...nested }));
}

async function writeTensors(
  path: string,
  source: CacheSource,
  model: Model,
  tensors: readonly Planned[],
  signal: AbortSignal | undefined,
): Promise<number> {
  using file = await Deno.open(path, { write: true, createNew: true });
  const sums = new Map(tensors.map(({ name }) => [name, NO_CHECKSUM]));
  let written = await writeAll(file, headerOf(source, tensors, sums));
  const buffer = new ReadBuffer();
  try {
    for (const tensor of tensors) {
      signal?.throwIfAborted();
      const data = buffer.take(tensor.bytes);
      await tensor.fill(data);
      sums.set(tensor.name, await checksum(model.library, data));
      written += await writeAll(file, data);
    }
  } finally {
    buffer.free();
  }
  // The checksums are known now; the header keeps its length.
  await file.seek(0, Deno.SeekMode.Start);
  await writeAll(file, headerOf(source, tensors, sums));
  await file.syncData();
  return written;
}

function headerOf(
  { identity }: CacheSource,
  tensors: readonly Planned[],
  sums: ReadonlyMap<string, string>,
): Uint8Array<ArrayBuffer> {
  const checksums = JSON.stringify(Object.fromEntries(sums));
  const header: Record<string, unknown> = {
    __metadata__: { format: FORMAT, version: VERSION, identity, checksums },
  };
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
  padded.set(json, 8);
  return padded;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<number> {
  let done = 0;
  while (done < bytes.length) done += await file.write(bytes.subarray(done, done + (32 << 20)));
  return done;
}
