/**
 * Plain C structs as bytes: fields in order, natural alignment, little-endian.
 */

/** C types a field may have. `ptr` is 8 bytes: the engine is built for 64-bit machines only. */
export type FieldType = "i32" | "i64" | "u64" | "f32" | "f64" | "ptr";

const BYTES: Readonly<Record<FieldType, number>> = {
  i32: 4,
  i64: 8,
  u64: 8,
  f32: 4,
  f64: 8,
  ptr: 8,
};

/** What a field takes and gives: 64-bit integers and pointers are bigint, the rest numbers. */
type FieldValue<T extends FieldType> = T extends "u64" | "ptr" ? bigint : number;

/** Field names and types in declaration order. */
export type Fields = Readonly<Record<string, FieldType>>;

/** A decoded struct. */
export type StructValue<F extends Fields> = { [K in keyof F]: FieldValue<F[K]> };

/** Layout of one C struct. */
export interface Struct<F extends Fields> {
  readonly name: string;
  readonly fields: F;
  readonly offsets: Readonly<Record<keyof F & string, number>>;
  /** sizeof, trailing padding included. */
  readonly size: number;
}

/**
 * Lays a struct out as a C compiler does.
 *
 * @example
 * ```ts
 * import { defineStruct } from "@lib/engine/struct.ts";
 * import { assertEquals } from "@std/assert";
 * const s = defineStruct("s", { a: "i32", b: "f64", c: "i32" });
 * assertEquals([s.offsets.b, s.size], [8, 24]);
 * ```
 */
export function defineStruct<const F extends Fields>(name: string, fields: F): Struct<F> {
  const offsets: Record<string, number> = {};
  let end = 0;
  let alignment = 1;
  for (const [field, type] of Object.entries(fields)) {
    const bytes = BYTES[type];
    end = Math.ceil(end / bytes) * bytes;
    offsets[field] = end;
    end += bytes;
    alignment = Math.max(alignment, bytes);
  }
  const size = Math.ceil(end / alignment) * alignment;
  return { name, fields, offsets: offsets as Record<keyof F & string, number>, size };
}

/**
 * Writes the given fields into a struct's bytes, leaving the others as they are.
 *
 * @throws {RangeError} a value that its C type cannot hold exactly, naming struct and field.
 */
export function writeStruct<F extends Fields>(
  struct: Struct<F>,
  bytes: Uint8Array<ArrayBuffer>,
  values: Partial<StructValue<F>>,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const [field, value] of Object.entries(values) as [string, number | bigint][]) {
    const type = struct.fields[field];
    const offset = struct.offsets[field];
    if (type === undefined || offset === undefined) {
      throw new RangeError(`Struct ${struct.name} has no field '${field}'`);
    }
    writeField(view, offset, type, value, `${struct.name}.${field}`);
  }
}

function writeField(
  view: DataView,
  offset: number,
  type: FieldType,
  value: number | bigint,
  where: string,
): void {
  if (type === "f64") return view.setFloat64(offset, Number(value), true);
  if (type === "f32") return view.setFloat32(offset, Number(value), true);
  if (type === "i32") {
    if (!Number.isInteger(value) || (Number(value) | 0) !== Number(value)) {
      throw new RangeError(`${where}: expected a 32-bit integer, found ${value}`);
    }
    return view.setInt32(offset, Number(value), true);
  }
  const wide = typeof value === "bigint" ? value : BigInt(value);
  if (type === "i64") return view.setBigInt64(offset, wide, true);
  if (wide < 0n || wide >= 1n << 64n) {
    throw new RangeError(`${where}: expected an unsigned 64-bit integer, found ${value}`);
  }
  view.setBigUint64(offset, wide, true);
}

/**
 * Reads every field of a struct.
 *
 * @throws {RangeError} an int64 beyond 2^53, naming struct and field.
 */
export function readStruct<F extends Fields>(
  struct: Struct<F>,
  bytes: Uint8Array<ArrayBuffer>,
  offset = 0,
): StructValue<F> {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, struct.size);
  const values: Record<string, number | bigint> = {};
  for (const [field, type] of Object.entries(struct.fields)) {
    const at = struct.offsets[field] ?? 0;
    if (type === "i32") values[field] = view.getInt32(at, true);
    else if (type === "f32") values[field] = view.getFloat32(at, true);
    else if (type === "f64") values[field] = view.getFloat64(at, true);
    else if (type === "i64") {
      values[field] = checkedNumber(view.getBigInt64(at, true), `${struct.name}.${field}`);
    } else values[field] = view.getBigUint64(at, true);
  }
  return values as StructValue<F>;
}

/** A bigint from the ABI as a number. Above this layer there is no bigint. */
export function checkedNumber(value: bigint, what: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw new RangeError(`${what}: expected an integer below 2^53, found ${value}`);
  }
  return number;
}
