/** A weight of a bitsandbytes NF4 checkpoint, dequantised piece by piece. */
import { z } from "zod";
import { decodeFloats, type FloatDtype } from "@lib/weights/floats.ts";
import {
  SafetensorsError,
  type SafetensorsFile,
  type TensorInfo,
} from "@lib/weights/safetensors.ts";

const QuantState = z.looseObject({
  quant_type: z.literal("nf4"),
  blocksize: z.number().int().positive(),
  dtype: z.enum(["bfloat16", "float16", "float32"]),
  shape: z.array(z.number().int().positive()).length(2),
  nested_blocksize: z.number().int().positive().optional(),
  nested_offset: z.number().optional(),
});

const DTYPES = { bfloat16: "BF16", float16: "F16", float32: "F32" } as const;
const STATE = ".quant_state.bitsandbytes__nf4";
const PARTS = [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", STATE];

/** Whether a tensor holds constants of another one. */
export function isNf4Part(name: string, all: ReadonlyMap<string, TensorInfo>): boolean {
  const suffix = PARTS.find((part) => name.endsWith(part));
  return suffix !== undefined && all.has(name.slice(0, -suffix.length) + STATE);
}

/** One quantised weight and its constants. */
export class Nf4Tensor {
  private constructor(
    readonly name: string,
    readonly dtype: FloatDtype,
    readonly shape: readonly number[],
    readonly blocksize: number,
    private readonly file: SafetensorsFile,
    /** (16) */
    private readonly map: Float32Array,
    /** (elements / blocksize) */
    private readonly absmax: Float32Array,
  ) {}

  /**
   * The quantised weight of this name, or null when it is not quantised.
   *
   * @throws {SafetensorsError} constants that are missing or of another length, by name
   */
  static async open(file: SafetensorsFile, name: string): Promise<Nf4Tensor | null> {
    if (!file.header.tensors.has(name + STATE)) return null;
    const { data } = await file.read(name + STATE);
    const state = QuantState.safeParse(parse(data));
    if (!state.success) {
      throw new SafetensorsError(`${file.path}: ${name}${STATE}: ${z.prettifyError(state.error)}`);
    }
    const { shape, blocksize } = state.data;
    const count = shape.reduce((a, b) => a * b, 1);
    expectLength(file, name, (file.header.tensors.get(name)?.bytes ?? 0) * 2, count + count % 2);
    const map = await floats(file, `${name}.quant_map`);
    const absmax = await readAbsmax(file, name, state.data);
    expectLength(file, `${name}.quant_map`, map.length, 16);
    expectLength(file, `${name}.absmax`, absmax.length, Math.ceil(count / blocksize));
    return new Nf4Tensor(name, DTYPES[state.data.dtype], shape, blocksize, file, map, absmax);
  }

  /** Elements `first … first + count`, row-major: code · absmax of its block. */
  async read(first: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    const start = Math.floor(first / 2);
    const bytes = Math.ceil((first + count) / 2) - start;
    const packed = await this.file.readRange(this.name, start, bytes);
    const values = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const at = first + i;
      const byte = packed[(at >> 1) - start] ?? 0;
      const code = at % 2 === 0 ? byte >> 4 : byte & 15;
      values[i] = (this.map[code] ?? 0) * (this.absmax[Math.floor(at / this.blocksize)] ?? 0);
    }
    return values;
  }
}

function parse(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return null;
  }
}

async function floats(file: SafetensorsFile, name: string): Promise<Float32Array> {
  const { info, data } = await file.read(name);
  if (info.dtype === "F32") return decodeFloats(data, "F32");
  throw new SafetensorsError(`${file.path}: ${name}: expected F32, found ${info.dtype}.`);
}

async function readAbsmax(
  file: SafetensorsFile,
  name: string,
  state: z.infer<typeof QuantState>,
): Promise<Float32Array> {
  const nested = state.nested_blocksize;
  if (nested === undefined) return await floats(file, `${name}.absmax`);
  const { data: codes } = await file.read(`${name}.absmax`);
  const map = await floats(file, `${name}.nested_quant_map`);
  const absmax2 = await floats(file, `${name}.nested_absmax`);
  expectLength(file, `${name}.nested_quant_map`, map.length, 256);
  expectLength(file, `${name}.nested_absmax`, absmax2.length, Math.ceil(codes.length / nested));
  const offset = Math.fround(state.nested_offset ?? 0);
  return Float32Array.from(codes, (code, i) => {
    const scaled = Math.fround((map[code] ?? 0) * (absmax2[Math.floor(i / nested)] ?? 0));
    return scaled + offset;
  });
}

function expectLength(file: SafetensorsFile, name: string, found: number, expected: number): void {
  if (found === expected) return;
  throw new SafetensorsError(
    `${file.path}: ${name}: expected ${expected} elements, found ${found}. Fetch the file again.`,
  );
}
