/** The keys of a GGUF model that tell llama.cpp its shape. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { countParameters } from "@lib/engine/architecture.ts";
import type { GgufValue, TensorType } from "@lib/weights/gguf/format.ts";
import { ggufArchitecture } from "@lib/weights/gguf/names.ts";

/** `llama_ftype` by the type of most tensors. */
const FILE_TYPES: Readonly<Record<TensorType, number>> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 };

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });
const text = (value: string): GgufValue => ({ type: "string", value });

/** Keys of the model itself, without those of its tokenizer. */
export function modelFields(
  a: Architecture,
  type: TensorType,
  name: string,
): Map<string, GgufValue> {
  const arch = ggufArchitecture(a);
  const fields = new Map<string, GgufValue>([
    ["general.architecture", text(arch)],
    ["general.type", text("model")],
    ["general.name", text(name)],
    ["general.size_label", text(sizeLabel(countParameters(a)))],
    [`${arch}.block_count`, u32(a.numLayers)],
    [`${arch}.context_length`, u32(a.maxPosition)],
    [`${arch}.embedding_length`, u32(a.hiddenSize)],
    [`${arch}.feed_forward_length`, u32(a.intermediateSize)],
    [`${arch}.attention.head_count`, u32(a.numHeads)],
    [`${arch}.attention.head_count_kv`, u32(a.numKvHeads)],
    [`${arch}.rope.freq_base`, f32(a.ropeTheta)],
    [`${arch}.attention.layer_norm_rms_epsilon`, f32(a.rmsNormEps)],
    [`${arch}.attention.key_length`, u32(a.headDim)],
    [`${arch}.attention.value_length`, u32(a.headDim)],
    ["general.file_type", u32(FILE_TYPES[type])],
  ]);
  if (arch === "llama") {
    fields.set("llama.vocab_size", u32(a.vocabSize));
    fields.set("llama.rope.dimension_count", u32(a.headDim));
  }
  fields.set("general.quantization_version", u32(2));
  return fields;
}

/** Parameters as people write them: 373K, 4.5M, 8B. */
function sizeLabel(parameters: number): string {
  const [unit, size] = parameters >= 1e9 ? ["B", 1e9] : parameters >= 1e6 ? ["M", 1e6] : ["K", 1e3];
  const value = parameters / size;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, "")}${unit}`;
}

/**
 * What llama3 scaling divides each rotary frequency by (`rope_freqs.weight`): 1 for short
 * wavelengths, the factor for long ones, smooth between.
 *
 * @returns (headDim / 2), or null without scaling
 */
export function ropeFactors(a: Architecture): Float32Array<ArrayBuffer> | null {
  const scaling = a.ropeScaling;
  if (scaling === null) return null;
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPosition } = scaling;
  return Float32Array.from({ length: a.headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * a.ropeTheta ** (2 * i / a.headDim);
    if (wavelength < originalMaxPosition / high) return 1;
    if (wavelength > originalMaxPosition / low) return factor;
    const smooth = (originalMaxPosition / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
