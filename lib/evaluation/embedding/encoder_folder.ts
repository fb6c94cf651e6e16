/**
 * A sentence encoder as a folder: which ONNX file, how its tokens become one vector, which prefix.
 *
 * Folders made by sentence-transformers say it themselves (`modules.json`, `1_Pooling`, `2_Dense`); the
 * plain exports of known models do not, and are known here by name.
 *
 * @module
 */
import { z } from "zod";
import { exists, FileReadError, loadJson } from "@lib/files.ts";
import { SafetensorsFile, toFloat32 } from "@lib/weights/safetensors.ts";

/** How the vectors of the tokens become one. */
export type Pooling = "mean" | "cls";

/** A linear layer after pooling, with tanh or nothing. */
export interface DenseHead {
  /** `out × in`, row-major. */
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
  readonly outputs: number;
  readonly inputs: number;
  readonly tanh: boolean;
}

/** An encoder that can be run. */
export interface EncoderFolder {
  readonly folder: string;
  readonly name: string;
  /** ONNX file without its ending, in `onnx/`: `model`, `model_quantized`. */
  readonly graph: "model" | "model_quantized";
  readonly pooling: Pooling;
  readonly head: DenseHead | null;
  /** Put before every text; e5 was trained with it. */
  readonly prefix: string;
}

/** A folder that is no encoder, or one whose pooling is not known. */
export class EncoderError extends Error {
  override readonly name = "EncoderError";
}

const HINT = "Fetch the model again, or choose another with evaluation.semantic_model.";

const PoolingConfig = z.looseObject({
  pooling_mode_cls_token: z.boolean().default(false),
  pooling_mode_mean_tokens: z.boolean().default(false),
});
const DenseConfig = z.looseObject({
  in_features: z.number().int().positive(),
  out_features: z.number().int().positive(),
  bias: z.boolean().default(true),
  activation_function: z.string(),
});

/** Models whose plain exports do not say how they pool. */
const KNOWN: readonly {
  readonly name: RegExp;
  readonly pooling: Pooling;
  readonly prefix: string;
}[] = [
  // Wang et al. 2024 (arXiv 2402.05672): mean of the tokens, "query: " for symmetric tasks.
  { name: /multilingual-e5/i, pooling: "mean", prefix: "query: " },
];

async function poolingOf(folder: string, name: string): Promise<Pooling> {
  const path = `${folder}/1_Pooling/config.json`;
  if (await exists(path)) {
    const { data } = PoolingConfig.safeParse(await loadJson(path, HINT));
    if (data?.pooling_mode_mean_tokens === true) return "mean";
    if (data?.pooling_mode_cls_token === true) return "cls";
    throw new EncoderError(
      `${path}: expected pooling by mean or first token, found neither. ${HINT}`,
    );
  }
  const known = KNOWN.find((model) => model.name.test(name));
  if (known !== undefined) return known.pooling;
  const labse = /labse/i.test(name)
    ? " LaBSE needs its dense layer too: sentence-transformers/LaBSE has both."
    : "";
  throw new EncoderError(
    `${name}: expected 1_Pooling/config.json, which says how tokens become one vector, found none.` +
      `${labse} ${HINT}`,
  );
}

async function denseTensor(folder: string, name: string, values: number): Promise<Float32Array> {
  using file = await SafetensorsFile.open(`${folder}/2_Dense/model.safetensors`);
  const { info, data } = await file.read(name);
  const tensor = toFloat32(data, info.dtype);
  if (tensor.length === values) return tensor;
  throw new EncoderError(
    `${folder}/2_Dense: expected ${values} values in ${name}, found ${tensor.length}. ${HINT}`,
  );
}

async function headOf(folder: string): Promise<DenseHead | null> {
  const path = `${folder}/2_Dense/config.json`;
  if (!await exists(path)) return null;
  const parsed = DenseConfig.safeParse(await loadJson(path, HINT));
  if (!parsed.success) {
    throw new FileReadError(`${path}: ${z.prettifyError(parsed.error)}. ${HINT}`);
  }
  const { in_features: inputs, out_features: outputs, activation_function } = parsed.data;
  const activation = activation_function.split(".").at(-1);
  if (activation !== "Tanh" && activation !== "Identity") {
    throw new EncoderError(
      `${path}: expected Tanh or Identity, found ${activation_function}. ${HINT}`,
    );
  }
  const weight = await denseTensor(folder, "linear.weight", inputs * outputs);
  const bias = parsed.data.bias ? await denseTensor(folder, "linear.bias", outputs) : null;
  return { weight, bias, outputs, inputs, tanh: activation === "Tanh" };
}

/**
 * Looks at a folder.
 *
 * @param name what the model is called, for models that are known by name
 * @throws {EncoderError | FileReadError} with what is missing
 */
export async function openEncoderFolder(folder: string, name: string): Promise<EncoderFolder> {
  for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
    if (!await exists(`${folder}/${file}`)) {
      throw new EncoderError(`${folder}: expected ${file}, found none. ${HINT}`);
    }
  }
  const graphs = ["model", "model_quantized"] as const;
  const found = await Promise.all(graphs.map((graph) => exists(`${folder}/onnx/${graph}.onnx`)));
  const graph = graphs.find((_, i) => found[i]);
  if (graph === undefined) {
    throw new EncoderError(`${folder}: expected onnx/model.onnx, found none. ${HINT}`);
  }
  return {
    ...{ folder, name, graph },
    pooling: await poolingOf(folder, name),
    head: await headOf(folder),
    prefix: KNOWN.find((model) => model.name.test(name))?.prefix ?? "",
  };
}
