/** The shape of a Llama-family model, read from its `config.json`. */
import { z } from "zod";
import {
  headDimOf,
  HubConfig,
  kvHeadsOf,
  type Rope,
  ropeOf,
  unsupportedFeature,
} from "@lib/engine/hub_config.ts";
import type { LoraModule } from "@lib/engine/model.ts";

/** What the engine needs to know. Sizes in elements. */
export interface Architecture {
  readonly modelType: string;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly maxPosition: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: {
    readonly factor: number;
    readonly lowFreqFactor: number;
    readonly highFreqFactor: number;
    readonly originalMaxPosition: number;
  } | null;
  readonly tieWordEmbeddings: boolean;
  readonly qkvBias: boolean;
  readonly qkNorm: boolean;
}

/** A model this engine cannot run, and why. */
export class UnsupportedModelError extends Error {
  override readonly name = "UnsupportedModelError";
}

/**
 * Reads the architecture out of a parsed `config.json`.
 *
 * @param value the parsed file
 * @param file its name, for messages
 * @throws {UnsupportedModelError} a missing key, or a feature the engine has not, by name
 */
export function parseArchitecture(value: unknown, file: string): Architecture {
  const parsed = HubConfig.safeParse(value);
  if (!parsed.success) {
    throw new UnsupportedModelError(`${file}: ${z.prettifyError(parsed.error)}`);
  }
  const config = parsed.data;
  const problem = unsupportedFeature(config);
  if (problem !== null) {
    throw new UnsupportedModelError(
      `${file}: ${problem}. Supported: Llama 3.x, TinyLlama, SmolLM2, Mistral without a sliding ` +
        "window, Qwen2.5 and Qwen3; choose another model.",
    );
  }
  const rope = ropeOf(config);
  return {
    modelType: config.model_type,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    numLayers: config.num_hidden_layers,
    numHeads: config.num_attention_heads,
    numKvHeads: kvHeadsOf(config) ?? config.num_attention_heads,
    headDim: headDimOf(config),
    vocabSize: config.vocab_size,
    maxPosition: config.max_position_embeddings,
    rmsNormEps: config.rms_norm_eps,
    ropeTheta: rope?.rope_theta ?? config.rope_theta ?? 10000,
    ropeScaling: scalingOf(rope),
    tieWordEmbeddings: config.tie_word_embeddings ?? false,
    qkvBias: config.model_type === "qwen2",
    qkNorm: config.model_type === "qwen3",
  };
}

/** Of settings that `unsupportedFeature` has found whole. */
function scalingOf(rope: Rope | null): Architecture["ropeScaling"] {
  if (rope === null || (rope.rope_type ?? rope.type ?? "default") === "default") return null;
  return {
    factor: rope.factor ?? 1,
    lowFreqFactor: rope.low_freq_factor ?? 1,
    highFreqFactor: rope.high_freq_factor ?? 4,
    originalMaxPosition: rope.original_max_position_embeddings ?? 0,
  };
}

/**
 * Parameters of the base model, the tied embedding counted once.
 */
export function countParameters(a: Architecture): number {
  const attention = a.hiddenSize * a.headDim * (2 * a.numHeads + 2 * a.numKvHeads);
  const mlp = 3 * a.hiddenSize * a.intermediateSize;
  const embeddings = a.vocabSize * a.hiddenSize * (a.tieWordEmbeddings ? 1 : 2);
  return embeddings + a.numLayers * (attention + mlp + 2 * a.hiddenSize) + a.hiddenSize;
}

/** Parameters of a LoRA adapter on the given linears of every layer. */
export function adapterParameters(
  a: Architecture,
  { r, targetModules }: { readonly r: number; readonly targetModules: readonly LoraModule[] },
): number {
  const q = a.numHeads * a.headDim;
  const kv = a.numKvHeads * a.headDim;
  const sides = {
    q_proj: a.hiddenSize + q,
    k_proj: a.hiddenSize + kv,
    v_proj: a.hiddenSize + kv,
    o_proj: q + a.hiddenSize,
    gate_proj: a.hiddenSize + a.intermediateSize,
    up_proj: a.hiddenSize + a.intermediateSize,
    down_proj: a.intermediateSize + a.hiddenSize,
  };
  return a.numLayers * r * targetModules.reduce((sum, module) => sum + sides[module], 0);
}

/**
 * Floating-point operations a trained token costs with a frozen base: forward 2N, gradient of the
 * activations 2N, and the layers' forward again when recomputed (N without the embedding table).
 */
export function trainingFlopsPerToken(a: Architecture, recompute: boolean): number {
  const head = a.vocabSize * a.hiddenSize;
  const layers = countParameters(a) - head * (a.tieWordEmbeddings ? 1 : 2);
  return 4 * (layers + head) + (recompute ? 2 * layers : 0);
}
