/** A small GGUF reader, written from the format's description for the tests. */
import { assertEquals } from "@std/assert";

export interface ReadTensor {
  readonly name: string;
  readonly type: string;
  /** As in the file: fastest first. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

export interface ReadField {
  readonly types: readonly string[];
  readonly value: unknown;
}

export interface ReadGguf {
  readonly fields: ReadonlyMap<string, ReadField>;
  readonly tensors: ReadonlyMap<string, ReadTensor>;
}

const SCALARS = ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "FLOAT32", "BOOL"];
const TENSORS: Record<number, readonly [name: string, elements: number, bytes: number]> = {
  0: ["F32", 1, 4],
  1: ["F16", 1, 2],
  8: ["Q8_0", 32, 34],
  30: ["BF16", 1, 2],
};

/** Reads a whole file and checks its structure: magic, version, alignment, order, exact end. */
export function readGguf(bytes: Uint8Array<ArrayBuffer>): ReadGguf {
  const view = new DataView(bytes.buffer);
  let at = 0;
  const u32 = () => view.getUint32((at += 4) - 4, true);
  const u64 = () => Number(view.getBigUint64((at += 8) - 8, true));
  const text = () => {
    const length = u64();
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at, at += length));
  };
  const scalar = (type: number): unknown => {
    if (type === 8) return text();
    if (type === 4) return u32();
    if (type === 5) return view.getInt32((at += 4) - 4, true);
    if (type === 6) return view.getFloat32((at += 4) - 4, true);
    if (type === 7) return view.getUint8(at++) === 1;
    throw new Error(`unexpected value type ${type}`);
  };
  const typeName = (type: number) => type === 8 ? "STRING" : SCALARS[type] ?? `${type}`;
  assertEquals(new TextDecoder().decode(bytes.subarray(0, 4)), "GGUF");
  at = 4;
  assertEquals(u32(), 3);
  const [tensorCount, fieldCount] = [u64(), u64()];
  const fields = new Map<string, ReadField>();
  for (let i = 0; i < fieldCount; i++) {
    const key = text();
    const type = u32();
    if (type !== 9) {
      fields.set(key, { types: [typeName(type)], value: scalar(type) });
      continue;
    }
    const [of, count] = [u32(), u64()];
    const value = Array.from({ length: count }, () => scalar(of));
    fields.set(key, { types: ["ARRAY", typeName(of)], value });
  }
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text();
    const shape = Array.from({ length: u32() }, u64);
    return { name, shape, type: u32(), offset: u64() };
  });
  const start = Math.ceil(at / 32) * 32;
  let end = start;
  const tensors = new Map<string, ReadTensor>();
  for (const { name, shape, type, offset } of infos) {
    const [typeName, elements, blockBytes] = TENSORS[type] ?? ["?", 1, 0];
    assertEquals((start + offset) % 32, 0, name);
    assertEquals(start + offset, Math.ceil(end / 32) * 32, name);
    end = start + offset + shape.reduce((a, b) => a * b, 1) / elements * blockBytes;
    const data = bytes.slice(start + offset, end);
    tensors.set(name, { name, type: typeName, shape, offset: start + offset, data });
  }
  assertEquals(bytes.length, Math.ceil(end / 32) * 32);
  return { fields, tensors };
}
