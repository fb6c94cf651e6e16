/** A merged model as one GGUF file, as llama.cpp's converter writes it. */
import { encodeTensor } from "@lib/weights/gguf/encode.ts";
import {
  GgufError,
  type GgufTensor,
  saveGguf,
  tensorBytes,
  type TensorType,
} from "@lib/weights/gguf/format.ts";
import { modelFields, ropeFactors } from "@lib/weights/gguf/metadata.ts";
import { ggufArchitecture, ggufName, permutedHeads, permuteRows } from "@lib/weights/gguf/names.ts";
import { loadTokenizerFields } from "@lib/weights/gguf/tokenizer.ts";
import type { CheckpointTensor } from "@lib/weights/checkpoint_rows.ts";
import type { ExportProgress, MergedModel } from "@lib/weights/merge.ts";

/** What was written. */
export interface GgufReport {
  readonly bytes: number;
  readonly tensors: number;
  /** Where llama.cpp will read text differently; null: nowhere. */
  readonly note: string | null;
}

/**
 * Writes the merged model with its tokenizer and chat template. Vectors stay F32; the rest is of the
 * given type, or F16 where a row is no multiple of Q8_0's 32. Memory in use is one block of rows.
 *
 * @param name `general.name`
 * @throws {GgufError} a tokenizer GGUF has no form for
 */
export async function saveGgufModel(
  path: string,
  model: MergedModel,
  type: TensorType,
  name: string,
  onProgress?: (progress: ExportProgress) => void,
  signal?: AbortSignal,
): Promise<GgufReport> {
  const { architecture, folder } = model.base;
  const tokenizer = await loadTokenizerFields(folder, architecture.vocabSize);
  const fields = new Map([...modelFields(architecture, type, name), ...tokenizer.fields]);
  const tensors = modelTensors(model, type);
  const bytesTotal = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  let bytesDone = 0;
  await saveGguf(path, fields, tensors, (tensor, bytes) => {
    signal?.throwIfAborted();
    bytesDone += bytes;
    onProgress?.({ tensor, bytesDone, bytesTotal });
  });
  return { bytes: bytesTotal, tensors: tensors.length, note: tokenizer.note };
}

function modelTensors(model: MergedModel, type: TensorType): GgufTensor[] {
  const { architecture, tensors } = model.base;
  const all = [...tensors.values()]
    .filter(({ name }) => !(architecture.tieWordEmbeddings && name === "lm_head.weight"))
    .map((tensor) => modelTensor(model, tensor, type));
  const factors = ropeFactors(architecture);
  if (factors === null) return all;
  if (ggufArchitecture(architecture) !== "llama") {
    throw new GgufError(
      `${model.base.folder}: expected llama3 RoPE scaling on a Llama model only, found it on ` +
        `${architecture.modelType}, for which GGUF has no form.`,
    );
  }
  return [{
    name: "rope_freqs.weight",
    type: "F32",
    shape: [factors.length],
    chunks: () => once(encodeTensor(factors, "F32")),
  }, ...all];
}

async function* once<T>(value: T): AsyncGenerator<T> {
  yield await value;
}

function modelTensor(
  model: MergedModel,
  tensor: CheckpointTensor,
  wanted: TensorType,
): GgufTensor {
  const { name, shape, columns } = tensor;
  const { architecture } = model.base;
  const type = shape.length < 2 ? "F32" : wanted === "Q8_0" && columns % 32 !== 0 ? "F16" : wanted;
  const isPermuted = permutedHeads(name, architecture) > 0;
  const { headDim } = architecture;
  async function* chunks(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for await (const { values } of model.blocks(name, isPermuted ? headDim : 1)) {
      yield encodeTensor(isPermuted ? permuteRows(values, headDim, columns) : values, type);
    }
  }
  return { name: ggufName(name), type, shape, chunks };
}
