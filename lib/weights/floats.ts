/** Float data of checkpoints: bytes of F32, F16 or BF16 to Float32Array and back, rounded once. */

/** The float dtypes a weight may have. */
export const FLOAT_BYTES = { F32: 4, F16: 2, BF16: 2 } as const;
export type FloatDtype = keyof typeof FLOAT_BYTES;

/** A number that the chosen type cannot hold. */
export class FloatRangeError extends Error {
  override readonly name = "FloatRangeError";
}

/** Whether a dtype's name is one of the three. */
export function isFloatDtype(dtype: string): dtype is FloatDtype {
  return Object.hasOwn(FLOAT_BYTES, dtype);
}

/**
 * Decodes little-endian floats; exact for all three types.
 *
 * @example
 * ```ts
 * import { decodeFloats, encodeFloats } from "@lib/weights/floats.ts";
 * import { assertEquals } from "@std/assert";
 * const bytes = encodeFloats(Float32Array.of(1, -2.5), "BF16");
 * assertEquals([...bytes], [0x80, 0x3f, 0x20, 0xc0]);
 * assertEquals([...decodeFloats(bytes, "BF16")], [1, -2.5]);
 * ```
 */
export function decodeFloats(
  data: Uint8Array<ArrayBuffer>,
  dtype: FloatDtype,
): Float32Array<ArrayBuffer> {
  const { buffer } = data.byteOffset % 4 === 0 && data.length === data.buffer.byteLength
    ? data
    : data.slice();
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype === "F16") return new Float32Array(new Float16Array(buffer));
  const halves = new Uint16Array(buffer);
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] ?? 0) << 16;
  return new Float32Array(bits.buffer);
}

/**
 * Encodes floats, rounded to the nearest, ties to even.
 *
 * @throws {FloatRangeError} a finite number beyond what F16 can hold
 */
export function encodeFloats(
  values: Float32Array<ArrayBuffer>,
  dtype: FloatDtype,
): Uint8Array<ArrayBuffer> {
  if (dtype === "F32") return new Uint8Array(values.slice().buffer);
  if (dtype === "F16") return encodeHalf(values);
  const bits = new Uint32Array(values.slice().buffer);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const n = bits[i] ?? 0;
    const isNaN = (n & 0x7fffffff) > 0x7f800000;
    halves[i] = isNaN ? (n >>> 16) | 0x40 : (n + 0x7fff + ((n >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(halves.buffer);
}

function encodeHalf(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const halves = new Float16Array(values);
  for (let i = 0; i < halves.length; i++) {
    const value = values[i] ?? 0;
    if (Math.abs(halves[i] ?? 0) === Infinity && Math.abs(value) !== Infinity) {
      throw new FloatRangeError(
        `expected numbers up to 65504, the largest of F16, found ${value}. Use BF16 or F32.`,
      );
    }
  }
  return new Uint8Array(halves.buffer);
}
