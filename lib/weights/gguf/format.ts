/**
 * The GGUF container, version 3: magic, counts, key-value pairs, tensor table, then the tensors, each
 * on a multiple of 32 bytes. Little-endian. Source: ggml's docs/gguf.md.
 */
import { saveStream } from "@lib/weights/stream_file.ts";

/** `gguf_type` of the value types written here. */
const VALUE_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

/** `ggml_type` of the tensor types written here, with elements and bytes of a block. */
export const TENSOR_TYPES = {
  F32: { id: 0, elements: 1, bytes: 4 },
  F16: { id: 1, elements: 1, bytes: 2 },
  Q8_0: { id: 8, elements: 32, bytes: 34 },
  BF16: { id: 30, elements: 1, bytes: 2 },
} as const;
export type TensorType = keyof typeof TENSOR_TYPES;

/** A value of the metadata. */
export type GgufValue =
  | { readonly type: "u32" | "i32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "array"; readonly of: "string"; readonly values: readonly string[] }
  | { readonly type: "array"; readonly of: "i32" | "f32"; readonly values: readonly number[] };

/** A tensor to be written. */
export interface GgufTensor {
  readonly name: string;
  readonly type: TensorType;
  /** Row-major sizes, as PyTorch gives them; the file has them reversed. */
  readonly shape: readonly number[];
  /** Its bytes, in pieces. */
  chunks(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** A file that cannot be written as asked. */
export class GgufError extends Error {
  override readonly name = "GgufError";
}

const ALIGNMENT = 32;
const padding = (bytes: number) => (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT;

/** Bytes of a tensor's data. */
export function tensorBytes({ type, shape }: Pick<GgufTensor, "type" | "shape">): number {
  const { elements, bytes } = TENSOR_TYPES[type];
  return shape.reduce((a, b) => a * b, 1) / elements * bytes;
}

/** Little-endian bytes that grow. */
class Bytes {
  #data = new Uint8Array(1 << 16);
  #view = new DataView(this.#data.buffer);
  #length = 0;

  #reserve(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#data.length) {
      const grown = new Uint8Array(Math.max(this.#length, 2 * this.#data.length));
      grown.set(this.#data);
      this.#data = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }

  i32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setInt32(at, value, true);
  }

  f32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setFloat32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  bool(value: boolean): void {
    const at = this.#reserve(1);
    this.#view.setUint8(at, value ? 1 : 0);
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    const at = this.#reserve(bytes.length);
    this.#data.set(bytes, at);
  }

  pad(): void {
    this.#reserve(padding(this.#length));
  }

  done(): Uint8Array<ArrayBuffer> {
    return this.#data.subarray(0, this.#length);
  }
}

function writeValue(bytes: Bytes, value: GgufValue): void {
  bytes.u32(VALUE_TYPES[value.type]);
  if (value.type === "string") return bytes.string(value.value);
  if (value.type === "bool") return bytes.bool(value.value);
  if (value.type !== "array") return bytes[value.type](value.value);
  bytes.u32(VALUE_TYPES[value.of]);
  bytes.u64(value.values.length);
  if (value.of === "string") { for (const text of value.values) bytes.string(text); }
  else for (const number of value.values) bytes[value.of](number);
}

/** Everything before the tensors' data. */
function encodeHead(
  fields: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
): Uint8Array<ArrayBuffer> {
  const bytes = new Bytes();
  bytes.u32(0x46554747); // "GGUF"
  bytes.u32(3);
  bytes.u64(tensors.length);
  bytes.u64(fields.size);
  for (const [key, value] of fields) {
    bytes.string(key);
    writeValue(bytes, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    bytes.string(tensor.name);
    bytes.u32(tensor.shape.length);
    for (const size of tensor.shape.toReversed()) bytes.u64(size);
    bytes.u32(TENSOR_TYPES[tensor.type].id);
    bytes.u64(offset);
    offset += tensorBytes(tensor) + padding(tensorBytes(tensor));
  }
  bytes.pad();
  return bytes.done();
}

/**
 * Writes a GGUF file atomically, its tensors streamed.
 *
 * @param onChunk called after each piece of a tensor
 * @throws {GgufError} a tensor whose data is not as long as its shape says
 */
export async function saveGguf(
  path: string,
  fields: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
  onChunk: (tensor: string, bytes: number) => void = () => {},
): Promise<void> {
  await saveStream(path, fileChunks(path, fields, tensors, onChunk));
}

async function* fileChunks(
  path: string,
  fields: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
  onChunk: (tensor: string, bytes: number) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield encodeHead(fields, tensors);
  for (const tensor of tensors) {
    const expected = tensorBytes(tensor);
    let written = 0;
    for await (const chunk of tensor.chunks()) {
      written += chunk.length;
      yield chunk;
      onChunk(tensor.name, chunk.length);
    }
    if (written !== expected) {
      throw new GgufError(
        `${path}: tensor '${tensor.name}' ${tensor.type} [${tensor.shape}]: expected ${expected} ` +
          `bytes, found ${written}.`,
      );
    }
    if (padding(expected) > 0) yield new Uint8Array(padding(expected));
  }
}
