/**
 * Shapes of instruction-tuned models that load here, as their makers publish them, so that a machine can
 * be asked about them before anything is fetched. Only their number of parameters is tested; what loads
 * is read from the model's own `config.json`.
 */
import type { Architecture } from "@lib/engine/architecture.ts";

/** A model by its name on the hub. */
export interface KnownModel {
  readonly id: string;
  readonly architecture: Architecture;
}

/** hidden, intermediate, layers, heads, key heads, head size, vocabulary, tied. */
type Sizes = readonly [number, number, number, number, number, number, number, boolean];

const LLAMA3_SCALING = { lowFreqFactor: 1, highFreqFactor: 4, originalMaxPosition: 8192 } as const;

function model(
  id: string,
  modelType: Architecture["modelType"],
  [hiddenSize, intermediateSize, numLayers, numHeads, numKvHeads, headDim, vocabSize, tied]: Sizes,
  rest: Partial<Architecture> = {},
): KnownModel {
  return {
    id,
    architecture: {
      ...{ modelType, hiddenSize, intermediateSize, numLayers, numHeads, numKvHeads, headDim },
      ...{ vocabSize, tieWordEmbeddings: tied, maxPosition: 8192, rmsNormEps: 1e-5 },
      ...{ ropeTheta: 10000, ropeScaling: null, qkvBias: false, qkNorm: false, ...rest },
    },
  };
}

const llama32 = { ropeTheta: 500000, ropeScaling: { factor: 32, ...LLAMA3_SCALING } };
const qwen25 = { qkvBias: true, ropeTheta: 1e6, rmsNormEps: 1e-6, maxPosition: 32768 };
const qwen3 = { qkNorm: true, ropeTheta: 1e6, rmsNormEps: 1e-6, maxPosition: 40960 };

/** The course's own. */
export const LLAMA_31_8B: KnownModel = model(
  "meta-llama/Llama-3.1-8B-Instruct",
  "llama",
  [4096, 14336, 32, 32, 8, 128, 128256, false],
  {
    ropeTheta: 500000,
    ropeScaling: { factor: 8, ...LLAMA3_SCALING },
    maxPosition: 131072,
  },
);

/** From the smallest to the largest. */
export const KNOWN_MODELS: readonly KnownModel[] = [
  model(
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "llama",
    [576, 1536, 30, 9, 3, 64, 49152, true],
    { ropeTheta: 100000 },
  ),
  model(
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "llama",
    [960, 2560, 32, 15, 5, 64, 49152, true],
    { ropeTheta: 100000 },
  ),
  model(
    "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen2",
    [896, 4864, 24, 14, 2, 64, 151936, true],
    qwen25,
  ),
  model("Qwen/Qwen3-0.6B", "qwen3", [1024, 3072, 28, 16, 8, 128, 151936, true], qwen3),
  model(
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "llama",
    [2048, 5632, 22, 32, 4, 64, 32000, false],
    { maxPosition: 2048 },
  ),
  model(
    "meta-llama/Llama-3.2-1B-Instruct",
    "llama",
    [2048, 8192, 16, 32, 8, 64, 128256, true],
    { ...llama32, maxPosition: 131072 },
  ),
  model(
    "Qwen/Qwen2.5-1.5B-Instruct",
    "qwen2",
    [1536, 8960, 28, 12, 2, 128, 151936, true],
    qwen25,
  ),
  model(
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "llama",
    [2048, 8192, 24, 32, 32, 64, 49152, true],
    { ropeTheta: 130000 },
  ),
  model("Qwen/Qwen3-1.7B", "qwen3", [2048, 6144, 28, 16, 8, 128, 151936, true], qwen3),
  model(
    "meta-llama/Llama-3.2-3B-Instruct",
    "llama",
    [3072, 8192, 28, 24, 8, 128, 128256, true],
    { ...llama32, maxPosition: 131072 },
  ),
  model("Qwen/Qwen3-4B", "qwen3", [2560, 9728, 36, 32, 8, 128, 151936, true], qwen3),
  model(
    "mistralai/Mistral-7B-Instruct-v0.3",
    "mistral",
    [4096, 14336, 32, 32, 8, 128, 32768, false],
    { ropeTheta: 1e6, maxPosition: 32768 },
  ),
  model(
    "Qwen/Qwen2.5-7B-Instruct",
    "qwen2",
    [3584, 18944, 28, 28, 4, 128, 152064, false],
    qwen25,
  ),
  LLAMA_31_8B,
  model("Qwen/Qwen3-8B", "qwen3", [4096, 12288, 36, 32, 8, 128, 151936, false], qwen3),
];
