/** A checkpoint's weights as floats, read a few rows at a time: what merging and exporting need. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { loadJson } from "@lib/files.ts";
import { decodeFloats, FLOAT_BYTES, type FloatDtype, isFloatDtype } from "@lib/weights/floats.ts";
import { loadArchitecture, ModelFolderError, weightFiles } from "@lib/weights/folder.ts";
import { isNf4Part, Nf4Tensor } from "@lib/weights/nf4_tensor.ts";
import { SafetensorsFile, type TensorInfo } from "@lib/weights/safetensors.ts";

/** One weight of a checkpoint. */
export interface CheckpointTensor {
  readonly name: string;
  /** Of the file; of an NF4 weight, the type it was quantised from. */
  readonly dtype: FloatDtype;
  readonly shape: readonly number[];
  /** Product of all sizes but the last. */
  readonly rows: number;
  readonly columns: number;
  /** Name of the file it lies in. */
  readonly shard: string;
}

/** Some rows of a weight. */
export interface RowBlock {
  readonly firstRow: number;
  readonly rows: number;
  /** (rows × columns) */
  readonly values: Float32Array<ArrayBuffer>;
}

/** Elements read at once: 16 MB as fp32. */
const BLOCK_ELEMENTS = 4 * 1024 * 1024;

interface Place {
  readonly file: SafetensorsFile;
  readonly info: TensorInfo;
}

/** An open model folder. Memory in use is one block of rows, whatever the model's size. */
export class Checkpoint implements Disposable {
  readonly #files: SafetensorsFile[];
  readonly #places = new Map<string, Place>();
  readonly #nf4 = new Map<string, Nf4Tensor>();
  readonly tensors: Map<string, CheckpointTensor> = new Map();

  private constructor(
    readonly folder: string,
    readonly architecture: Architecture,
    /** `config.json` as it stands. */
    readonly config: Readonly<Record<string, unknown>>,
    files: SafetensorsFile[],
  ) {
    this.#files = files;
  }

  /**
   * Opens a model folder: safetensors in one file or in shards, bf16, fp16, fp32 or bitsandbytes NF4.
   *
   * @throws {ModelFolderError | SafetensorsError} naming the file or tensor
   */
  static async open(folder: string): Promise<Checkpoint> {
    const architecture = await loadArchitecture(folder);
    const config = await loadJson(`${folder}/config.json`, "Fetch the model again.");
    const files: SafetensorsFile[] = [];
    const checkpoint = new Checkpoint(
      folder,
      architecture,
      config as Readonly<Record<string, unknown>>,
      files,
    );
    try {
      for (const path of await weightFiles(folder)) files.push(await SafetensorsFile.open(path));
      for (const file of files) await checkpoint.#list(file);
      return checkpoint;
    } catch (error) {
      checkpoint[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether some weights are there only in 4 bits. */
  get isQuantized(): boolean {
    return this.#nf4.size > 0;
  }

  /** Names of the weight files, in order. */
  get shards(): string[] {
    return this.#files.map(({ path }) => baseName(path));
  }

  async #list(file: SafetensorsFile): Promise<void> {
    const all = file.header.tensors;
    const shard = baseName(file.path);
    for (const info of all.values()) {
      if (isNf4Part(info.name, all) || info.name.endsWith(".rotary_emb.inv_freq")) continue;
      const nf4 = await Nf4Tensor.open(file, info.name);
      if (nf4 !== null) this.#nf4.set(info.name, nf4);
      const { dtype, shape } = nf4 ?? { dtype: info.dtype, shape: info.shape };
      if (!isFloatDtype(dtype)) {
        throw new ModelFolderError(
          `${file.path}: tensor '${info.name}': expected ${Object.keys(FLOAT_BYTES).join(", ")} ` +
            `or bitsandbytes NF4, found ${dtype}. Use the model's bf16 checkpoint.`,
        );
      }
      const columns = shape.at(-1) ?? 1;
      const rows = columns === 0 ? 0 : shape.reduce((a, b) => a * b, 1) / columns;
      this.tensors.set(info.name, { name: info.name, dtype, shape, rows, columns, shard });
      this.#places.set(info.name, { file, info });
    }
  }

  /** One weight. @throws {ModelFolderError} when it is not there */
  tensor(name: string): CheckpointTensor {
    const tensor = this.tensors.get(name);
    if (tensor !== undefined) return tensor;
    throw new ModelFolderError(
      `${this.folder}: expected the tensor ${name}, found none. Fetch the model again.`,
    );
  }

  /**
   * A weight's rows, block after block, as fp32 (exact for bf16 and fp16; dequantised for NF4).
   *
   * @param multiple each block but the last holds a multiple of this many rows
   */
  async *blocks(name: string, multiple = 1): AsyncGenerator<RowBlock> {
    const { rows, columns } = this.tensor(name);
    const wanted = Math.max(1, Math.floor(BLOCK_ELEMENTS / Math.max(1, columns)));
    const step = Math.max(multiple, wanted - wanted % multiple);
    for (let firstRow = 0; firstRow < rows; firstRow += step) {
      const count = Math.min(step, rows - firstRow);
      const values = await this.#read(name, firstRow * columns, count * columns);
      yield { firstRow, rows: count, values };
    }
  }

  async #read(name: string, first: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    const nf4 = this.#nf4.get(name);
    if (nf4 !== undefined) return await nf4.read(first, count);
    const place = this.#places.get(name);
    const { dtype } = this.tensor(name);
    if (place === undefined) return new Float32Array(0);
    const size = FLOAT_BYTES[dtype];
    return decodeFloats(await place.file.readRange(name, first * size, count * size), dtype);
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
