/** Loading through the quantised copy: read it when it fits, make it when it does not. */
import type { Model } from "@lib/engine/model.ts";
import { formatBytes } from "@lib/engine/memory.ts";
import { CheckpointError } from "@lib/weights/checkpoint.ts";
import {
  createLoaded,
  loadArchitecture,
  type LoadOptions,
  openCheckpoint,
  quantizationFor,
  weightFiles,
} from "@lib/weights/folder.ts";
import { cacheFolder, cacheSource, openCache, saveCache } from "@lib/weights/quantized_cache.ts";
import { SafetensorsError } from "@lib/weights/safetensors.ts";

/** Checkpoints below this load in a moment anyway. */
const WORTHWHILE_BYTES = 256e6;

/** Options of {@linkcode loadModelCached}. */
export interface CachedLoadOptions extends LoadOptions {
  /** Folder of the copies. @default {cacheFolder()} */
  readonly cache?: string;
  /** Checkpoints of fewer bytes get no copy. @default {256e6} */
  readonly worthwhileBytes?: number;
  /** A copy that was made, or why one could not be used or made. @default to standard error */
  readonly onMessage?: (line: string) => void;
}

/**
 * Loads a model folder as `loadModel` does, keeping a quantised copy for the next time. Checkpoints
 * that are 4-bit already, small ones and unquantised models have no copy. A stale or damaged copy is
 * said and made anew; one that cannot be written is said, and the model is loaded all the same.
 *
 * @throws as `loadModel`
 */
export async function loadModelCached(
  folder: string,
  options: CachedLoadOptions = {},
): Promise<Model> {
  const { onMessage = console.error, worthwhileBytes = WORTHWHILE_BYTES } = options;
  const architecture = await loadArchitecture(folder);
  using checkpoint = await openCheckpoint(folder, architecture);
  const quantization = quantizationFor(folder, checkpoint, options.quantization);
  const bytes = checkpoint.tensors.reduce((sum, { info }) => sum + info.bytes, 0);
  const loading = { ...options, quantization };
  if (quantization === "none" || checkpoint.quantized !== null || bytes < worthwhileBytes) {
    return await createLoaded(architecture, loading, checkpoint);
  }
  const files = await weightFiles(folder);
  const cache = options.cache ?? cacheFolder();
  const source = await cacheSource(folder, files, architecture, quantization, cache);
  try {
    using copy = await openCache(source, architecture);
    if (copy !== null) return await createLoaded(architecture, loading, copy, copy.checksums);
  } catch (error) {
    if (!(error instanceof SafetensorsError || error instanceof CheckpointError)) throw error;
    onMessage(`${error.message} The quantised copy is made anew.`);
    await Deno.remove(source.path).catch(() => {});
  }
  const model = await createLoaded(architecture, loading, checkpoint);
  try {
    const written = await saveCache(source, model, checkpoint, options.signal);
    onMessage(`Kept ${formatBytes(written)} of quantised weights for next time: ${source.path}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (options.signal?.aborted) {
      await model.close();
      throw error;
    }
    onMessage(
      `The quantised copy ${source.path} could not be written: ${why}. The model is loaded; the ` +
        "next load quantises again. Free some space, or set QLORA_CACHE to another folder.",
    );
  }
  return model;
}
