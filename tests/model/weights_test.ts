import { assert, assertEquals } from "@std/assert";
import { z } from "zod";
import { loadModelJson, MODEL_FOLDER } from "./folder.ts";

const Config = z.object({
  hidden_size: z.int(),
  head_dim: z.int(),
  intermediate_size: z.int(),
  num_attention_heads: z.int(),
  num_hidden_layers: z.int(),
  num_key_value_heads: z.int(),
  tie_word_embeddings: z.literal(true),
  vocab_size: z.int(),
});
const Header = z.record(
  z.string(),
  z.strictObject({
    dtype: z.string(),
    shape: z.array(z.int()),
    data_offsets: z.tuple([z.int(), z.int()]),
  }),
);

/** Every tensor that a tied Llama of this configuration has, with its shape. */
function expectedShapes(c: z.infer<typeof Config>): Map<string, number[]> {
  const D = c.hidden_size;
  const q = c.num_attention_heads * c.head_dim;
  const kv = c.num_key_value_heads * c.head_dim;
  const shapes = new Map([["model.embed_tokens.weight", [c.vocab_size, D]], [
    "model.norm.weight",
    [D],
  ]]);
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const layer = `model.layers.${i}`;
    shapes.set(`${layer}.input_layernorm.weight`, [D]);
    shapes.set(`${layer}.post_attention_layernorm.weight`, [D]);
    shapes.set(`${layer}.self_attn.q_proj.weight`, [q, D]);
    shapes.set(`${layer}.self_attn.k_proj.weight`, [kv, D]);
    shapes.set(`${layer}.self_attn.v_proj.weight`, [kv, D]);
    shapes.set(`${layer}.self_attn.o_proj.weight`, [D, q]);
    shapes.set(`${layer}.mlp.gate_proj.weight`, [c.intermediate_size, D]);
    shapes.set(`${layer}.mlp.up_proj.weight`, [c.intermediate_size, D]);
    shapes.set(`${layer}.mlp.down_proj.weight`, [D, c.intermediate_size]);
  }
  return shapes;
}

Deno.test("model.safetensors holds exactly the tensors of config.json, in bf16", async () => {
  const bytes = await Deno.readFile(new URL("model.safetensors", MODEL_FOLDER));
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const raw = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  delete raw.__metadata__;
  const header = Header.parse(raw);
  const expected = expectedShapes(Config.parse(await loadModelJson("config.json")));
  assertEquals(Object.keys(header).sort(), [...expected.keys()].sort());
  for (const [name, tensor] of Object.entries(header)) {
    assertEquals(tensor.dtype, "BF16", name);
    assertEquals(tensor.shape, expected.get(name), name);
    const [start, end] = tensor.data_offsets;
    assertEquals(end - start, 2 * tensor.shape.reduce((a, b) => a * b, 1), name);
    assert(8 + length + end <= bytes.length, `${name} lies beyond the end of the file`);
  }
});

Deno.test("every linear layer's input is a multiple of 64, the block of NF4", async () => {
  const c = Config.parse(await loadModelJson("config.json"));
  for (const size of [c.hidden_size, c.num_attention_heads * c.head_dim, c.intermediate_size]) {
    assertEquals(size % 64, 0, `${size}`);
  }
});

Deno.test("the folder is at most 10 MB", async () => {
  let total = 0;
  for await (const entry of Deno.readDir(MODEL_FOLDER)) {
    total += (await Deno.stat(new URL(entry.name, MODEL_FOLDER))).size;
  }
  assert(total <= 10_000_000, `expected at most 10,000,000 bytes, found ${total}`);
});
