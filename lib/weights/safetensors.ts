/**
 * The safetensors format: an 8-byte little-endian header length, a JSON header, then the tensors.
 * No header is trusted: lengths, dtypes, shapes, offsets and overlaps are checked before use.
 */
import { z } from "zod";
import { writeFileAtomic } from "@lib/files.ts";

/** Bytes an element of each dtype this project reads or writes. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;
export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

const TensorEntry = z.strictObject({
  dtype: z.enum(Object.keys(DTYPE_BYTES) as [SafetensorsDtype, ...SafetensorsDtype[]]),
  shape: z.array(z.number().int().min(0)).max(8),
  data_offsets: z.tuple([z.number().int().min(0), z.number().int().min(0)]),
});
const Header = z.record(z.string(), z.unknown());

/** One tensor's place in a file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Absolute byte offset and length in the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** A parsed header. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A file that is not valid safetensors. */
export class SafetensorsError extends Error {
  override readonly name = "SafetensorsError";
}

/** Longest header accepted, as the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;

/**
 * An open safetensors file, read tensor by tensor.
 */
export class SafetensorsFile implements Disposable {
  private constructor(
    readonly path: string,
    readonly header: SafetensorsHeader,
    readonly file: Deno.FsFile,
  ) {}

  /** @throws {SafetensorsError} naming the file and what is wrong with its header */
  static async open(path: string): Promise<SafetensorsFile> {
    let file: Deno.FsFile;
    try {
      file = await Deno.open(path, { read: true });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new SafetensorsError(`${path}: expected a safetensors file, found nothing.`);
    }
    try {
      const { size } = await file.stat();
      return new SafetensorsFile(path, await readHeader(file, size, path), file);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Reads one tensor's bytes. @throws {SafetensorsError} no such tensor, or the file ends early */
  async read(name: string): Promise<{ info: TensorInfo; data: Uint8Array<ArrayBuffer> }> {
    const info = this.header.tensors.get(name);
    if (info === undefined) {
      throw new SafetensorsError(`${this.path}: no tensor named '${name}'`);
    }
    const data = new Uint8Array(info.bytes);
    await this.file.seek(info.offset, Deno.SeekMode.Start);
    await readFull(this.file, data, this.path);
    return { info, data };
  }

  /**
   * Reads some of one tensor's bytes.
   *
   * @param start from the tensor's first byte
   * @throws {SafetensorsError} no such tensor, a range beyond it, or the file ends early
   */
  async readRange(name: string, start: number, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const info = this.header.tensors.get(name);
    if (info === undefined || start < 0 || bytes < 0 || start + bytes > info.bytes) {
      throw new SafetensorsError(
        `${this.path}: expected bytes ${start} to ${start + bytes} of the tensor '${name}', ` +
          `found ${info?.bytes ?? "no"} bytes.`,
      );
    }
    const data = new Uint8Array(bytes);
    await this.file.seek(info.offset + start, Deno.SeekMode.Start);
    await readFull(this.file, data, this.path);
    return data;
  }

  [Symbol.dispose](): void {
    this.file.close();
  }
}

async function readFull(file: Deno.FsFile, into: Uint8Array, path: string): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const read = await file.read(into.subarray(done));
    if (read === null) {
      throw new SafetensorsError(
        `${path}: the file ends ${into.length - done} bytes early: it was cut off while being ` +
          "written or downloaded. Fetch it again.",
      );
    }
    done += read;
  }
}

async function readHeader(
  file: Deno.FsFile,
  size: number,
  path: string,
): Promise<SafetensorsHeader> {
  if (size < 8) {
    throw new SafetensorsError(
      `${path}: expected at least 8 bytes, found ${size}. Fetch it again.`,
    );
  }
  const lengthBytes = new Uint8Array(8);
  await readFull(file, lengthBytes, path);
  const length = new DataView(lengthBytes.buffer).getBigUint64(0, true);
  if (length > BigInt(Math.min(MAX_HEADER_BYTES, size - 8))) {
    throw new SafetensorsError(
      `${path}: the header claims ${length} bytes, the file has ${size}. ` +
        "It is truncated or not safetensors: fetch it again.",
    );
  }
  const headerBytes = new Uint8Array(Number(length));
  await readFull(file, headerBytes, path);
  return parseHeader(headerBytes, size - 8 - headerBytes.length, path);
}

/**
 * Checks a header against the bytes that follow it.
 *
 * @param json the header's bytes
 * @param dataBytes bytes of the file after the header
 */
export function parseHeader(
  json: Uint8Array,
  dataBytes: number,
  path: string,
): SafetensorsHeader {
  const start = 8 + json.length;
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch {
    throw new SafetensorsError(`${path}: the header is not JSON. Fetch the file again.`);
  }
  const header = Header.safeParse(parsed);
  if (!header.success) throw new SafetensorsError(`${path}: the header is not a JSON object.`);
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header.data)) {
    if (name === "__metadata__") {
      metadata = z.record(z.string(), z.string()).catch({}).parse(value);
      continue;
    }
    tensors.set(name, parseEntry(name, value, start, dataBytes, path));
  }
  checkOverlaps([...tensors.values()], path);
  return { tensors, metadata };
}

function parseEntry(
  name: string,
  value: unknown,
  start: number,
  dataBytes: number,
  path: string,
): TensorInfo {
  const entry = TensorEntry.safeParse(value);
  if (!entry.success) {
    throw new SafetensorsError(`${path}: tensor '${name}': ${z.prettifyError(entry.error)}`);
  }
  const { dtype, shape, data_offsets: [begin, end] } = entry.data;
  const expected = shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[dtype];
  if (end - begin !== expected) {
    throw new SafetensorsError(
      `${path}: tensor '${name}' ${dtype} [${shape}]: expected ${expected} bytes, ` +
        `found ${end - begin}.`,
    );
  }
  if (end > dataBytes) {
    throw new SafetensorsError(
      `${path}: tensor '${name}' ends at byte ${end} of ${dataBytes}: the file is truncated. ` +
        "Fetch it again.",
    );
  }
  return { name, dtype, shape, offset: start + begin, bytes: expected };
}

function checkOverlaps(tensors: TensorInfo[], path: string): void {
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  for (let i = 1; i < tensors.length; i++) {
    const [before, after] = [tensors[i - 1], tensors[i]];
    if (before && after && after.offset < before.offset + before.bytes) {
      throw new SafetensorsError(
        `${path}: tensors '${before.name}' and '${after.name}' overlap.`,
      );
    }
  }
}

/** A tensor to be written. */
export interface TensorData {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
}

/**
 * Writes a safetensors file atomically, tensors in the given order, data 8-byte aligned.
 *
 * @throws {SafetensorsError} data whose length does not fit its shape
 */
export async function saveSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let end = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    const expected = shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[dtype];
    if (data.byteLength !== expected) {
      throw new SafetensorsError(
        `${path}: tensor '${name}' ${dtype} [${shape}]: expected ${expected} bytes, ` +
          `found ${data.byteLength}.`,
      );
    }
    header[name] = { dtype, shape, data_offsets: [end, end + expected] };
    chunks.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    end += expected;
  }
  let json = JSON.stringify(header);
  json += " ".repeat((8 - new TextEncoder().encode(json).length % 8) % 8);
  const headerBytes = new TextEncoder().encode(json);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(headerBytes.length), true);
  await writeFileAtomic(path, [length, headerBytes, ...chunks]);
}

/**
 * Decodes float data of any of the three float dtypes.
 *
 * @returns one float a number
 */
export function toFloat32(
  data: Uint8Array<ArrayBuffer>,
  dtype: SafetensorsDtype,
): Float32Array<ArrayBuffer> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (dtype === "F32") {
    return Float32Array.from({ length: data.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }
  const count = data.length / 2;
  if (dtype === "BF16") {
    const bits = Uint32Array.from({ length: count }, (_, i) => view.getUint16(2 * i, true) << 16);
    return new Float32Array(bits.buffer);
  }
  if (dtype === "F16") {
    return Float32Array.from({ length: count }, (_, i) => view.getFloat16(2 * i, true));
  }
  throw new SafetensorsError(`expected F32, F16 or BF16 data, found ${dtype}`);
}
