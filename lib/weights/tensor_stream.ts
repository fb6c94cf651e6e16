/** Tensors from files into the engine, through two buffers that are used again and again. */
import type { Dtype, Model } from "@lib/engine/model.ts";
import { checksum } from "@lib/engine/checksum.ts";
import type { CheckpointTensor } from "@lib/weights/checkpoint.ts";
import { SafetensorsError } from "@lib/weights/safetensors.ts";

/** Progress of a load. */
export interface LoadProgress {
  readonly tensor: string;
  /** Of the tensors that are loaded. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** Options of {@linkcode streamTensors}. */
export interface StreamOptions {
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/** Read ahead while the engine takes the tensor before; a larger tensor is read alone. */
const AHEAD_BYTES = 256 << 20;

/**
 * Gives tensors to a model in their order; while it takes one, the next is read.
 *
 * @param checksums XXH64 by tensor name, compared with the bytes that were read
 * @throws {SafetensorsError} a file that ends early, or a tensor whose checksum differs
 */
export async function streamTensors(
  model: Model,
  tensors: readonly CheckpointTensor[],
  { onProgress, signal }: StreamOptions,
  checksums?: ReadonlyMap<string, string>,
): Promise<void> {
  const bytesTotal = tensors.reduce((sum, { info }) => sum + info.bytes, 0);
  let bytesDone = 0;
  const buffers = [new ReadBuffer(), new ReadBuffer()] as const;
  const bufferOf = (i: number) => buffers[i % 2 === 0 ? 0 : 1];
  const read = (i: number): Promise<Uint8Array<ArrayBuffer>> | null => {
    const tensor = tensors[i];
    return tensor === undefined ? null : bufferOf(i).read(tensor, signal);
  };
  let reading = read(0);
  try {
    for (const [i, tensor] of tensors.entries()) {
      const data = await reading;
      if (data === null) break;
      signal?.throwIfAborted();
      const { name, bytes } = tensor.info;
      const ahead = Math.max(bytes, tensors[i + 1]?.info.bytes ?? 0) <= AHEAD_BYTES;
      reading = ahead ? read(i + 1) : null;
      reading?.catch(() => {}); // awaited in the next turn, or below
      await take(model, tensor, data, checksums?.get(name));
      if (bytes > AHEAD_BYTES) bufferOf(i).free();
      bytesDone += bytes;
      onProgress?.({ tensor: name, bytesDone, bytesTotal });
      reading ??= read(i + 1);
    }
  } finally {
    await reading?.catch(() => {});
    for (const buffer of buffers) buffer.free();
  }
}

async function take(
  model: Model,
  { file, info: { name, dtype, shape } }: CheckpointTensor,
  data: Uint8Array<ArrayBuffer>,
  wanted: string | undefined,
): Promise<void> {
  const [found, loaded] = await Promise.allSettled([
    wanted === undefined ? undefined : checksum(model.library, data),
    model.loadTensor(name, dtype as Dtype, shape, data),
  ]);
  if (found.status === "rejected") throw found.reason;
  // Before what the engine says: it may have been given nonsense.
  if (found.value !== wanted) {
    throw new SafetensorsError(
      `${file.path}: tensor '${name}': expected the checksum ${wanted}, found ${found.value}: the ` +
        "file was damaged after it was written.",
    );
  }
  if (loaded.status === "rejected") throw loaded.reason;
}

/** Memory that tensors are read into one after another. */
export class ReadBuffer {
  #memory = new ArrayBuffer(0);

  /** A tensor's bytes, valid until the next read. */
  async read(
    { file, info }: CheckpointTensor,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const data = this.take(info.bytes);
    await file.readInto(info, data, signal);
    return data;
  }

  /** Room for so many bytes, valid until the next call. */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    if (this.#memory.byteLength < bytes) {
      this.free();
      this.#memory = new ArrayBuffer(bytes);
    }
    return new Uint8Array(this.#memory, 0, bytes);
  }

  /** Gives the memory back at once; the garbage collector would take its time. */
  free(): void {
    this.#memory.transfer(0);
    this.#memory = new ArrayBuffer(0);
  }
}
