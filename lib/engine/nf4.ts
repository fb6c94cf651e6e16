/** NF4 on plain arrays through the native library, for teaching and tests. */
import { type Library, loadLibrary } from "@lib/engine/library.ts";
import { unwrap } from "@lib/engine/status.ts";

/** NF4 codes and their block scales. */
export interface Nf4 {
  /** (⌈n/2⌉) two codes a byte, the first in the high nibble. */
  readonly packed: Uint8Array<ArrayBuffer>;
  /** (⌈n/64⌉) largest magnitude of each block of 64. */
  readonly absmax: Float32Array<ArrayBuffer>;
}

/** Absmax values quantised a second time. */
export interface DoubleQuantized {
  /** (count) codes into the signed dynamic map. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (⌈count/256⌉) */
  readonly absmax2: Float32Array<ArrayBuffer>;
  /** The mean that was subtracted first. */
  readonly offset: number;
}

const failed = () => "NF4 arrays of these lengths are refused";

/** Quantises to NF4 in blocks of 64, bit-identical to bitsandbytes. */
export function nf4Quantize(values: Float32Array<ArrayBuffer>, library?: Library): Nf4 {
  const { symbols } = library ?? loadLibrary("cpu");
  const packed = new Uint8Array(Math.ceil(values.length / 2));
  const absmax = new Float32Array(Math.ceil(values.length / 64));
  unwrap(symbols.qlora_nf4_quantize(values, BigInt(values.length), packed, absmax), failed);
  return { packed, absmax };
}

/** @param count number of values */
export function nf4Dequantize(
  nf4: Nf4,
  count: number,
  library?: Library,
): Float32Array<ArrayBuffer> {
  const { symbols } = library ?? loadLibrary("cpu");
  const values = new Float32Array(count);
  unwrap(symbols.qlora_nf4_dequantize(nf4.packed, nf4.absmax, BigInt(count), values), failed);
  return values;
}

/** Double quantisation: 8-bit absmax in blocks of 256 around their mean. */
export function absmaxQuantize(
  absmax: Float32Array<ArrayBuffer>,
  library?: Library,
): DoubleQuantized {
  const { symbols } = library ?? loadLibrary("cpu");
  const codes = new Uint8Array(absmax.length);
  const absmax2 = new Float32Array(Math.ceil(absmax.length / 256));
  const offset = new Float32Array(1);
  const count = BigInt(absmax.length);
  unwrap(symbols.qlora_absmax_quantize(absmax, count, codes, absmax2, offset), failed);
  return { codes, absmax2, offset: offset[0] ?? 0 };
}

export function absmaxDequantize(
  quantized: DoubleQuantized,
  library?: Library,
): Float32Array<ArrayBuffer> {
  const { symbols } = library ?? loadLibrary("cpu");
  const absmax = new Float32Array(quantized.codes.length);
  const code = symbols.qlora_absmax_dequantize(
    quantized.codes,
    quantized.absmax2,
    quantized.offset,
    BigInt(absmax.length),
    absmax,
  );
  unwrap(code, failed);
  return absmax;
}
