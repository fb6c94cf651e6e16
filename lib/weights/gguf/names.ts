/** Hugging Face's names of the family's weights, as llama.cpp calls them. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { GgufError } from "@lib/weights/gguf/format.ts";

const TOP: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  "lm_head": "output",
};

const IN_LAYER: Readonly<Record<string, string>> = {
  "input_layernorm": "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "post_attention_layernorm": "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

/** llama.cpp's name of the architecture. */
export function ggufArchitecture(a: Architecture): "llama" | "qwen2" | "qwen3" {
  return a.modelType === "qwen2" || a.modelType === "qwen3" ? a.modelType : "llama";
}

/**
 * @example
 * ```ts
 * import { ggufName } from "@lib/weights/gguf/names.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(ggufName("model.layers.3.self_attn.q_proj.weight"), "blk.3.attn_q.weight");
 * ```
 * @throws {GgufError} a weight llama.cpp's family has no name for
 */
export function ggufName(name: string): string {
  const [, stem = "", kind = ""] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  const top = TOP[stem];
  if (top !== undefined) return `${top}.${kind}`;
  const [, layer = "", part = ""] = /^model\.layers\.(\d+)\.(.*)$/.exec(stem) ?? [];
  const inLayer = IN_LAYER[part];
  if (inLayer !== undefined) return `blk.${layer}.${inLayer}.${kind}`;
  throw new GgufError(
    `expected the weights of a Llama, Mistral, Qwen2 or Qwen3 model, found '${name}', which GGUF ` +
      "has no name for.",
  );
}

/**
 * Heads whose rows change places on the way: llama.cpp's `llama` turns neighbouring pairs where
 * Hugging Face turns the two halves of a head. 0: rows stay.
 */
export function permutedHeads(name: string, a: Architecture): number {
  if (ggufArchitecture(a) !== "llama") return 0;
  if (name.includes(".self_attn.q_proj.")) return a.numHeads;
  return name.includes(".self_attn.k_proj.") ? a.numKvHeads : 0;
}

/**
 * Rows of whole heads from Hugging Face's order into llama.cpp's: of a head of d rows, row h·(d/2) + i
 * becomes row 2·i + h.
 *
 * @param values (heads · headDim × columns)
 */
export function permuteRows(
  values: Float32Array<ArrayBuffer>,
  headDim: number,
  columns: number,
): Float32Array<ArrayBuffer> {
  const permuted = new Float32Array(values.length);
  const half = headDim / 2;
  for (let row = 0; row < values.length / columns; row++) {
    const inHead = row % headDim;
    const to = row - inHead + 2 * (inHead % half) + Math.floor(inHead / half);
    permuted.set(values.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return permuted;
}
