/** Rows of floats in GGUF's tensor types. */
import { encodeFloats } from "@lib/weights/floats.ts";
import { GgufError, type TensorType } from "@lib/weights/gguf/format.ts";

/**
 * Encodes whole rows.
 *
 * @throws {GgufError} Q8_0 of a count that is no multiple of 32
 */
export function encodeTensor(
  values: Float32Array<ArrayBuffer>,
  type: TensorType,
): Uint8Array<ArrayBuffer> {
  return type === "Q8_0" ? encodeQ8(values) : encodeFloats(values, type);
}

/**
 * Q8_0: blocks of 32; d = largest magnitude / 127 as fp16, then 32 signed bytes round(x / d), halves
 * away from zero, divided by d before it is rounded to fp16; bit for bit as ggml's reference.
 */
export function encodeQ8(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (values.length % 32 !== 0) {
    throw new GgufError(`Q8_0: expected a multiple of 32 numbers, found ${values.length}.`);
  }
  const bytes = new Uint8Array(values.length / 32 * 34);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < values.length / 32; block++) {
    let largest = 0;
    for (let i = 0; i < 32; i++) {
      const magnitude = Math.abs(values[32 * block + i] ?? 0);
      if (magnitude > largest) largest = magnitude;
    }
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    view.setFloat16(34 * block, d, true);
    for (let i = 0; i < 32; i++) {
      const x = Math.fround((values[32 * block + i] ?? 0) * inverse);
      view.setInt8(34 * block + 2 + i, Math.sign(x) * Math.floor(Math.abs(x) + 0.5));
    }
  }
  return bytes;
}
