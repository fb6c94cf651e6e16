/**
 * The header of a safetensors file, which is not trusted: JSON without duplicate keys, dtypes, shapes,
 * byte ranges, overlaps and holes are checked before any tensor is used. As strict as the reference
 * implementation (safetensors 0.5): the tensors' ranges must fill the data exactly.
 */
import { z } from "zod";

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
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A file that is not valid safetensors. */
export class SafetensorsError extends Error {
  override readonly name = "SafetensorsError";
}

/**
 * Checks a header against the bytes that follow it.
 *
 * @param json the header's bytes
 * @param dataBytes bytes of the file after the header
 * @throws {SafetensorsError} naming the file, the tensor, what was expected and what was found
 */
export function parseHeader(
  json: Uint8Array,
  dataBytes: number,
  path: string,
): SafetensorsHeader {
  const start = 8 + json.length;
  let metadata: Record<string, string> = {};
  const tensors: TensorInfo[] = [];
  for (const [name, value] of Object.entries(parseJsonObject(json, path))) {
    if (name === "__metadata__") metadata = parseMetadata(value, path);
    else tensors.push(parseEntry(name, value, start, dataBytes, path));
  }
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  checkRanges(tensors, start, dataBytes, path);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata };
}

function parseJsonObject(json: Uint8Array, path: string): object {
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
    parsed = JSON.parse(text);
  } catch {
    throw new SafetensorsError(`${path}: the header is not JSON. Fetch the file again.`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new SafetensorsError(
      `${path}: expected a JSON object as the header, found ${
        parsed === null ? "null" : Array.isArray(parsed) ? "a list" : `a ${typeof parsed}`
      }. Fetch the file again.`,
    );
  }
  const twice = duplicateKey(text);
  if (twice !== null) {
    throw new SafetensorsError(
      `${path}: the header names '${twice}' twice, so that one of the two would be lost. ` +
        "Fetch the file again.",
    );
  }
  return parsed;
}

/**
 * The first key that an object of a valid JSON text holds twice, or null. (`JSON.parse` keeps the
 * last one in silence.)
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(duplicateKey('{"a":{"b":1},"c":"b"}'), null);
 * assertEquals(duplicateKey('{"a":1,"\\u0061":2}'), "a");
 * ```
 */
export function duplicateKey(text: string): string | null {
  const open: (Set<string> | null)[] = []; // the keys of each open object; null: a list
  let last = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') {
      const end = endOfString(text, i);
      last = text.slice(i, end);
      i = end - 1;
    } else if (c === "{") open.push(new Set());
    else if (c === "[") open.push(null);
    else if (c === "}" || c === "]") open.pop();
    else if (c === ":") {
      const key: string = JSON.parse(last);
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return null;
}

/** Index after the closing quote of the string that begins at `begin`. */
function endOfString(text: string, begin: number): number {
  let i = begin + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i + 1;
}

function parseMetadata(value: unknown, path: string): Record<string, string> {
  const metadata = z.record(z.string(), z.string()).safeParse(value);
  if (metadata.success) return metadata.data;
  throw new SafetensorsError(
    `${path}: __metadata__: expected text by text, found something else: ` +
      `${z.prettifyError(metadata.error)}`,
  );
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
  if (!Number.isSafeInteger(expected) || end - begin !== expected) {
    throw new SafetensorsError(
      `${path}: tensor '${name}' ${dtype} [${shape}]: expected ${expected} bytes, ` +
        `found ${end - begin}. Fetch the file again.`,
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

/** Sorted by place, the tensors must follow one another and fill the data. */
function checkRanges(
  tensors: readonly TensorInfo[],
  start: number,
  dataBytes: number,
  path: string,
): void {
  let end = start;
  let before = "the header";
  for (const { name, offset, bytes } of tensors) {
    if (offset < end) {
      throw new SafetensorsError(
        `${path}: tensors '${before}' and '${name}' overlap by ${end - offset} bytes. ` +
          "Fetch the file again.",
      );
    }
    if (offset > end) {
      throw new SafetensorsError(
        `${path}: ${offset - end} bytes between '${before}' and '${name}' belong to no tensor. ` +
          "Fetch the file again.",
      );
    }
    end = offset + bytes;
    before = name;
  }
  if (end !== start + dataBytes) {
    throw new SafetensorsError(
      `${path}: expected ${end - start} bytes of tensors as the header says, found ${dataBytes}. ` +
        "Fetch the file again.",
    );
  }
}
