/** The models the bench runs: shapes only, with random weights. */
import type { Architecture } from "@lib/engine/architecture.ts";

/** Llama-3.1-8B. */
export const LLAMA_8B: Architecture = {
  modelType: "llama",
  hiddenSize: 4096,
  intermediateSize: 14336,
  numLayers: 32,
  numHeads: 32,
  numKvHeads: 8,
  headDim: 128,
  vocabSize: 128256,
  maxPosition: 131072,
  rmsNormEps: 1e-5,
  ropeTheta: 500000,
  ropeScaling: {
    factor: 8,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPosition: 8192,
  },
  tieWordEmbeddings: false,
  qkvBias: false,
  qkNorm: false,
};

/** The same family in miniature: every row of the bench in seconds on a CPU. */
export const LLAMA_SMALL: Architecture = {
  ...LLAMA_8B,
  hiddenSize: 128,
  intermediateSize: 320,
  numLayers: 3,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 32,
  vocabSize: 2048,
  maxPosition: 2048,
};

/** Shapes by the name given on the command line. */
export const SHAPES = { "8b": LLAMA_8B, small: LLAMA_SMALL } as const;
export type ShapeName = keyof typeof SHAPES;
