/** One matrix of a model folder, for looking at. */
import { ModelFolderError, weightFiles } from "@lib/weights/folder.ts";
import { SafetensorsFile, toFloat32 } from "@lib/weights/safetensors.ts";

/** A matrix in host memory. */
export interface LoadedMatrix {
  readonly name: string;
  readonly shape: readonly number[];
  /** Row by row. */
  readonly values: Float32Array<ArrayBuffer>;
}

/**
 * Reads a tensor by its name as it lies on disk, as 32-bit floats.
 *
 * @throws {ModelFolderError} when no file of the folder has it
 */
export async function loadMatrix(folder: string, name: string): Promise<LoadedMatrix> {
  for (const path of await weightFiles(folder)) {
    using file = await SafetensorsFile.open(path);
    if (!file.header.tensors.has(name)) continue;
    const { info, data } = await file.read(name);
    return { name, shape: info.shape, values: toFloat32(data, info.dtype) };
  }
  throw new ModelFolderError(
    `${folder}: expected the tensor ${name}, found none of that name. Names are as in the model's ` +
      "safetensors files.",
  );
}

/** Reads every tensor of one file, such as an adapter's, in the order of their names. */
export async function loadMatrices(path: string): Promise<LoadedMatrix[]> {
  using file = await SafetensorsFile.open(path);
  const matrices: LoadedMatrix[] = [];
  for (const name of [...file.header.tensors.keys()].toSorted()) {
    const { info, data } = await file.read(name);
    matrices.push({ name, shape: info.shape, values: toFloat32(data, info.dtype) });
  }
  return matrices;
}
