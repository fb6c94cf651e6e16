/**
 * `config.json` of a model on the hub: which of its features this engine has. Everything that would
 * change the result and is not implemented is refused by name, never ignored.
 */
import { z } from "zod";

/** RoPE settings, as Hugging Face writes them (`rope_type`, older files `type`). */
const Rope = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().optional(),
  low_freq_factor: z.number().optional(),
  high_freq_factor: z.number().optional(),
  original_max_position_embeddings: z.number().int().optional(),
  partial_rotary_factor: z.number().optional(),
});
/** See {@linkcode HubConfig}. */
export type Rope = z.infer<typeof Rope>;

const ROPE_KEYS = new Set(Object.keys(Rope.shape));

const BitsAndBytes = z.looseObject({
  quant_method: z.string().optional(),
  load_in_4bit: z.boolean().optional(),
  load_in_8bit: z.boolean().optional(),
  bnb_4bit_quant_type: z.string().optional(),
  bnb_4bit_quant_storage: z.string().optional(),
});

/** The keys that are read; a `config.json` has many more that change nothing here. */
export const HubConfig = z.looseObject({
  model_type: z.string(),
  architectures: z.array(z.string()).nullish(),
  hidden_size: z.number().int().positive(),
  intermediate_size: z.number().int().positive(),
  num_hidden_layers: z.number().int().positive(),
  num_attention_heads: z.number().int().positive(),
  num_key_value_heads: z.number().int().positive().nullish(),
  head_dim: z.number().int().positive().nullish(),
  vocab_size: z.number().int().positive(),
  max_position_embeddings: z.number().int().positive(),
  rms_norm_eps: z.number().positive(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: Rope.nullish(),
  // transformers 5 writes the rope settings here.
  rope_parameters: Rope.nullish(),
  partial_rotary_factor: z.number().nullish(),
  tie_word_embeddings: z.boolean().optional(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  hidden_act: z.string().optional(),
  sliding_window: z.number().nullish(),
  use_sliding_window: z.boolean().nullish(),
  layer_types: z.array(z.string()).nullish(),
  quantization_config: BitsAndBytes.nullish(),
});
export type HubConfig = z.infer<typeof HubConfig>;

/** Families whose graph this is: Llama's, with Qwen's biases or head norms. */
export const FAMILIES: readonly string[] = ["llama", "mistral", "qwen2", "qwen3"];

/** Window of Mistral's sliding attention when its `config.json` leaves the key out. */
const MISTRAL_WINDOW = 4096;

/** Features of kindred models by their key, and the value under which they do nothing. */
const INERT: Readonly<Record<string, number>> = {
  logits_scaling: 1,
  logit_scale: 1,
  embedding_multiplier: 1,
  residual_multiplier: 1,
  final_logit_softcapping: 0,
  attn_logit_softcapping: 0,
  num_local_experts: 0,
  num_experts: 0,
  n_routed_experts: 0,
};

/**
 * Why the engine cannot run this model, or null.
 *
 * @returns e.g. `expected hidden_act silu, found 'gelu'`
 */
export function unsupportedFeature(c: HubConfig): string | null {
  return familyProblem(c) ?? shapeProblem(c) ?? windowProblem(c) ?? multiplierProblem(c) ??
    ropeProblem(c) ?? quantizationProblem(c);
}

function familyProblem(c: HubConfig): string | null {
  if (!FAMILIES.includes(c.model_type)) {
    return `expected model_type ${FAMILIES.join(", ")}, found '${c.model_type}'`;
  }
  const heads = c.architectures ?? [];
  if (heads.length > 0 && !heads.some((name) => name.endsWith("ForCausalLM"))) {
    return `expected a language model (architectures …ForCausalLM), found ${heads.join(", ")}`;
  }
  if ((c.hidden_act ?? "silu") !== "silu") {
    return `expected hidden_act silu, found '${c.hidden_act}'`;
  }
  if (c.attention_bias === true) {
    return "expected attention_bias false, found true: biases of q, k, v and o_proj are not " +
      "implemented (Qwen2's, without o_proj, are)";
  }
  return c.mlp_bias === true ? "expected mlp_bias false, found true" : null;
}

function shapeProblem(c: HubConfig): string | null {
  const heads = c.num_attention_heads;
  const kvHeads = kvHeadsOf(c);
  if (kvHeads === null) return "expected num_key_value_heads, found none";
  if (heads % kvHeads !== 0) {
    return `expected num_key_value_heads to divide num_attention_heads ${heads}, found ${kvHeads}`;
  }
  const headDim = headDimOf(c);
  if (Number.isInteger(headDim) && headDim % 2 === 0) return null;
  return `expected an even head_dim (of its own, or hidden_size ${c.hidden_size} over ` +
    `num_attention_heads ${heads}), found ${headDim}`;
}

function windowProblem(c: HubConfig): string | null {
  const kinds = (c.layer_types ?? []).filter((kind) => kind !== "full_attention");
  if (kinds.length > 0) return `expected layer_types full_attention, found '${kinds[0]}'`;
  const window = c.sliding_window === undefined && c.model_type === "mistral"
    ? MISTRAL_WINDOW
    : c.sliding_window ?? null;
  const used = c.use_sliding_window ?? c.model_type === "mistral";
  if (window === null || !used || window >= c.max_position_embeddings) return null;
  return `expected no sliding window, found sliding_window ${window}` +
    (c.sliding_window === undefined ? " (Mistral's own when the key is missing)" : "") +
    ": attention within a window is not implemented";
}

function multiplierProblem(c: HubConfig): string | null {
  for (const [key, inert] of Object.entries(INERT)) {
    const value = c[key];
    if (value === undefined || value === null || value === inert) continue;
    return `expected no ${key} (or ${inert}), found ${JSON.stringify(value)}`;
  }
  return null;
}

function ropeProblem(c: HubConfig): string | null {
  const rope = ropeOf(c);
  const partial = rope?.partial_rotary_factor ?? c.partial_rotary_factor ?? 1;
  if (partial !== 1) {
    return `expected rotary embeddings of whole heads, found a share of ${partial}`;
  }
  if (rope === null) return null;
  const type = rope.rope_type ?? rope.type ?? "default";
  if (type !== "default" && type !== "llama3") {
    return `expected rope scaling of type default or llama3, found '${type}'`;
  }
  const unknown = Object.keys(rope).find((key) => !ROPE_KEYS.has(key));
  if (unknown !== undefined) {
    return `expected rope scaling with ${[...ROPE_KEYS].join(", ")}, found '${unknown}' too`;
  }
  if (type === "default") return null;
  const { factor, low_freq_factor: low, high_freq_factor: high } = rope;
  const original = rope.original_max_position_embeddings;
  if (
    factor === undefined || low === undefined || high === undefined || original === undefined
  ) {
    return "expected factor, low_freq_factor, high_freq_factor and " +
      `original_max_position_embeddings in the llama3 rope scaling, found ${JSON.stringify(rope)}`;
  }
  if (factor > 0 && low > 0 && high > low && original > 0) return null;
  return "expected a llama3 rope scaling of positive factors, high_freq_factor above " +
    `low_freq_factor, found ${JSON.stringify(rope)}`;
}

function quantizationProblem({ quantization_config: q }: HubConfig): string | null {
  if (q === undefined || q === null) return null;
  const found = JSON.stringify(q);
  const wanted = "expected an unquantised checkpoint or bitsandbytes NF4";
  if (q.quant_method !== "bitsandbytes") {
    return `${wanted}, found quant_method '${q.quant_method ?? "none"}'`;
  }
  if (q.load_in_8bit === true || q.load_in_4bit !== true) {
    return `${wanted} (load_in_4bit), found ${found}`;
  }
  const isNf4 = q.bnb_4bit_quant_type === "nf4";
  return isNf4 && (q.bnb_4bit_quant_storage ?? "uint8") === "uint8"
    ? null
    : `${wanted} (bnb_4bit_quant_type nf4, bnb_4bit_quant_storage uint8), found ${found}`;
}

/** The rope settings, wherever they stand. */
export function ropeOf(c: HubConfig): Rope | null {
  return c.rope_parameters ?? c.rope_scaling ?? null;
}

/** KV heads; null when a family that has no such default leaves them out. */
export function kvHeadsOf(c: HubConfig): number | null {
  return c.num_key_value_heads ?? (c.model_type === "llama" ? c.num_attention_heads : null);
}

/** Elements a head; Qwen3's default is 128, the others' the even share of hidden_size. */
export function headDimOf(c: HubConfig): number {
  return c.head_dim ??
    (c.model_type === "qwen3" ? 128 : c.hidden_size / c.num_attention_heads);
}
