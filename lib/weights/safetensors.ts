/**
 * The safetensors format: an 8-byte little-endian header length, a JSON header, then the tensors.
 * Reading and writing; `safetensors_header.ts` checks a header before anything is used.
 */
import { writeFileAtomic } from "@lib/files.ts";
import {
  DTYPE_BYTES,
  parseHeader,
  type SafetensorsDtype,
  SafetensorsError,
  type SafetensorsHeader,
  type TensorInfo,
} from "@lib/weights/safetensors_header.ts";

export { DTYPE_BYTES, parseHeader, SafetensorsError };
export type { SafetensorsDtype, SafetensorsHeader, TensorInfo };

/** Longest header accepted, as the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;

/** Read at once: how soon a cancelled read ends. */
const PIECE_BYTES = 32 << 20;

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
    await this.readInto(info, data);
    return { info, data };
  }

  /**
   * Reads one tensor's bytes into memory the caller keeps, so that a checkpoint passes through one
   * buffer.
   *
   * @param into exactly `info.bytes` long
   * @throws {SafetensorsError} the file ends early
   * @throws the signal's reason, within a piece of 32 MB
   */
  async readInto(
    info: TensorInfo,
    into: Uint8Array<ArrayBuffer>,
    signal?: AbortSignal,
  ): Promise<void> {
    await this.file.seek(info.offset, Deno.SeekMode.Start);
    for (let begin = 0; begin < into.length; begin += PIECE_BYTES) {
      signal?.throwIfAborted();
      await readFull(this.file, into.subarray(begin, begin + PIECE_BYTES), this.path);
    }
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
