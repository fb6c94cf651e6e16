/** The models the bench runs: shapes only, with random weights. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { LLAMA_31_8B } from "@lib/training/known_models.ts";

/** Llama-3.1-8B. */
export const LLAMA_8B: Architecture = LLAMA_31_8B.architecture;

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
