import { assert, assertEquals } from "@std/assert";
import { readGguf } from "./gguf_reader.ts";
import { decodeFloats } from "@lib/weights/floats.ts";
import { saveGgufModel } from "@lib/weights/gguf/model.ts";
import { MergedModel } from "@lib/weights/merge.ts";
import { saveSafetensors, type TensorData } from "@lib/weights/safetensors.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const HIDDEN = 32;

/** A one-layer model of a family, untied, its numbers counted through, with the tiny tokenizer. */
async function family(folder: string, modelType: string): Promise<Map<string, TensorData>> {
  const config = {
    ...{ model_type: modelType, hidden_size: HIDDEN, intermediate_size: 64, head_dim: 16 },
    ...{ num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 4096 },
    ...{ max_position_embeddings: 64, rms_norm_eps: 1e-6, rope_theta: 10000 },
  };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${ROOT}data/tiny-llama/${name}`, `${folder}/${name}`);
  }
  const layer = "model.layers.0.";
  const shapes: Record<string, number[]> = {
    "model.embed_tokens.weight": [4096, HIDDEN],
    "lm_head.weight": [4096, HIDDEN],
    "model.norm.weight": [HIDDEN],
    [`${layer}input_layernorm.weight`]: [HIDDEN],
    [`${layer}post_attention_layernorm.weight`]: [HIDDEN],
    [`${layer}self_attn.q_proj.weight`]: [32, HIDDEN],
    [`${layer}self_attn.k_proj.weight`]: [16, HIDDEN],
    [`${layer}self_attn.v_proj.weight`]: [16, HIDDEN],
    [`${layer}self_attn.o_proj.weight`]: [HIDDEN, 32],
    [`${layer}mlp.gate_proj.weight`]: [64, HIDDEN],
    [`${layer}mlp.up_proj.weight`]: [64, HIDDEN],
    [`${layer}mlp.down_proj.weight`]: [HIDDEN, 64],
  };
  if (modelType === "qwen2") shapes[`${layer}self_attn.q_proj.bias`] = [32];
  if (modelType === "qwen3") shapes[`${layer}self_attn.q_norm.weight`] = [16];
  const tensors = new Map<string, TensorData>();
  for (const [name, shape] of Object.entries(shapes)) {
    const count = shape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length: count }, (_, i) => i + tensors.size / 100);
    tensors.set(name, { dtype: "F32", shape, data });
  }
  await saveSafetensors(`${folder}/model.safetensors`, tensors);
  return tensors;
}

const CASES = [
  ["mistral", "llama", ["attn_q.weight", "attn_k.weight"], null],
  ["qwen2", "qwen2", [], ["self_attn.q_proj.bias", "attn_q.bias"]],
  ["qwen3", "qwen3", [], ["self_attn.q_norm.weight", "attn_q_norm.weight"]],
] as const;

for (const [modelType, arch, turned, extra] of CASES) {
  Deno.test(`${modelType} becomes a ${arch} of GGUF, rows turned only where llama.cpp wants it`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const tensors = await family(folder, modelType);
      using model = await MergedModel.open(folder, null);
      await saveGgufModel(`${folder}/m.gguf`, model, "F32", modelType);
      const file = readGguf(await Deno.readFile(`${folder}/m.gguf`));
      assertEquals(file.fields.get("general.architecture")?.value, arch);
      assertEquals(file.fields.get(`${arch}.attention.head_count_kv`)?.value, 1);
      assertEquals(file.fields.get(`${arch}.attention.key_length`)?.value, 16);
      assertEquals(file.fields.has(`${arch}.rope.dimension_count`), arch === "llama");
      assertEquals(file.tensors.size, tensors.size);
      const values = (name: string) =>
        decodeFloats(file.tensors.get(name)?.data ?? new Uint8Array(), "F32");
      const source = (name: string) => tensors.get(name)?.data as Float32Array | undefined;
      assertEquals(values("output.weight"), source("lm_head.weight"));
      const rows = [["q_proj", "attn_q.weight"], ["k_proj", "attn_k.weight"]] as const;
      for (const [ours, theirs] of rows) {
        const got = values(`blk.0.${theirs}`);
        const want = source(`model.layers.0.self_attn.${ours}.weight`);
        const isTurned = turned.some((name) => name === theirs);
        if (isTurned) {
          // Second row of llama.cpp's first pair: row headDim / 2.
          assertEquals(got.subarray(HIDDEN, 2 * HIDDEN), want?.subarray(8 * HIDDEN, 9 * HIDDEN));
        } else assertEquals(got, want);
      }
      if (extra === null) return;
      assertEquals(values(`blk.0.${extra[1]}`), source(`model.layers.0.${extra[0]}`));
      assert(file.tensors.get(`blk.0.${extra[1]}`)?.type === "F32");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
