/** The shape of a Llama-family model, read from its `config.json`. */
import { z } from "zod";
import type { LoraModule } from "@lib/engine/model.ts";

/** llama3 RoPE scaling, as Hugging Face writes it (`rope_type`, older files `type`). */
const RopeScaling = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().optional(),
  factor: z.number().optional(),
  low_freq_factor: z.number().optional(),
  high_freq_factor: z.number().optional(),
  original_max_position_embeddings: z.number().int().optional(),
});

const HuggingFaceConfig = z.looseObject({
  model_type: z.string(),
  hidden_size: z.number().int().positive(),
  intermediate_size: z.number().int().positive(),
  num_hidden_layers: z.number().int().positive(),
  num_attention_heads: z.number().int().positive(),
  num_key_value_heads: z.number().int().positive().optional(),
  head_dim: z.number().int().positive().nullish(),
  vocab_size: z.number().int().positive(),
  max_position_embeddings: z.number().int().positive(),
  rms_norm_eps: z.number().positive(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: RopeScaling.nullish(),
  // transformers 5 writes the rope settings here.
  rope_parameters: RopeScaling.nullish(),
  tie_word_embeddings: z.boolean().optional(),
  attention_bias: z.boolean().optional(),
  mlp_bias: z.boolean().optional(),
  hidden_act: z.string().optional(),
  sliding_window: z.number().nullish(),
  use_sliding_window: z.boolean().optional(),
  bos_token_id: z.number().int().nullish(),
  eos_token_id: z.union([z.number().int(), z.array(z.number().int())]).nullish(),
});

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

const FAMILIES = ["llama", "mistral", "qwen2", "qwen3"];

/**
 * Reads the architecture out of a parsed `config.json`.
 *
 * @param value the parsed file
 * @param file its name, for messages
 * @throws {UnsupportedModelError} a missing key, or a feature the engine has not, by name
 */
export function parseArchitecture(value: unknown, file: string): Architecture {
  const parsed = HuggingFaceConfig.safeParse(value);
  if (!parsed.success) {
    throw new UnsupportedModelError(`${file}: ${z.prettifyError(parsed.error)}`);
  }
  const config = parsed.data;
  refuse(config, file);
  const rope = config.rope_parameters ?? config.rope_scaling ?? null;
  return {
    modelType: config.model_type,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    numLayers: config.num_hidden_layers,
    numHeads: config.num_attention_heads,
    numKvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    vocabSize: config.vocab_size,
    maxPosition: config.max_position_embeddings,
    rmsNormEps: config.rms_norm_eps,
    ropeTheta: config.rope_theta ?? rope?.rope_theta ?? 10000,
    ropeScaling: parseRopeScaling(rope, file),
    tieWordEmbeddings: config.tie_word_embeddings ?? false,
    qkvBias: config.model_type === "qwen2",
    qkNorm: config.model_type === "qwen3",
  };
}

function refuse(config: z.infer<typeof HuggingFaceConfig>, file: string): void {
  const expect = (ok: boolean, what: string) => {
    if (!ok) throw new UnsupportedModelError(`${file}: ${what}`);
  };
  expect(
    FAMILIES.includes(config.model_type),
    `expected model_type ${FAMILIES.join(", ")}, found '${config.model_type}'`,
  );
  expect(
    (config.hidden_act ?? "silu") === "silu",
    `expected hidden_act silu, found '${config.hidden_act}'`,
  );
  const window = config.sliding_window ?? null;
  expect(
    window === null || config.use_sliding_window === false ||
      (config.model_type !== "mistral" && config.use_sliding_window !== true),
    `expected no sliding window, found sliding_window ${window}`,
  );
  expect(config.mlp_bias !== true, "expected no mlp_bias, found true");
  expect(config.attention_bias !== true, "expected no attention_bias, found true");
}

function parseRopeScaling(
  rope: z.infer<typeof RopeScaling> | null,
  file: string,
): Architecture["ropeScaling"] {
  const type = rope?.rope_type ?? rope?.type ?? "default";
  if (rope === null || type === "default") return null;
  const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = rope;
  if (type !== "llama3") {
    throw new UnsupportedModelError(
      `${file}: expected rope scaling of type default or llama3, found '${type}'`,
    );
  }
  if (
    factor === undefined || low_freq_factor === undefined || high_freq_factor === undefined ||
    original_max_position_embeddings === undefined
  ) {
    throw new UnsupportedModelError(
      `${file}: expected factor, low_freq_factor, high_freq_factor and ` +
        `original_max_position_embeddings in the llama3 rope scaling, found ${
          JSON.stringify(rope)
        }`,
    );
  }
  return {
    factor,
    lowFreqFactor: low_freq_factor,
    highFreqFactor: high_freq_factor,
    originalMaxPosition: original_max_position_embeddings,
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
