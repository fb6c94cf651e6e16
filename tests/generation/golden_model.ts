/** Loads the small random models of tests/golden, adapter attached. */
import { z } from "zod";
import { parseArchitecture } from "@lib/engine/architecture.ts";
import { Model } from "@lib/engine/model.ts";
import { LORA_MODULES } from "@lib/config.ts";
import { SafetensorsFile, toFloat32 } from "@lib/weights/safetensors.ts";

const GOLDEN = decodeURIComponent(new URL("../golden", import.meta.url).pathname);

/** What of a case's settings makes its model. */
const Case = z.object({
  family: z.enum(["llama", "mistral", "qwen2", "qwen3"]),
  layers: z.number(),
  vocab: z.number(),
  tied: z.boolean(),
  llama3: z.boolean(),
  heads: z.number(),
  kv_heads: z.number(),
  head_dim: z.number(),
  hidden: z.number(),
  ffn: z.number(),
  rope_theta: z.number(),
  rope_factor: z.number(),
  eps: z.number(),
  max_position: z.number(),
  quantization: z.enum(["none", "nf4", "nf4_double"]),
  targets: z.array(z.enum(LORA_MODULES)),
  rank: z.number(),
  alpha: z.number(),
  rslora: z.boolean(),
});

function hubConfig(c: z.infer<typeof Case>): Record<string, unknown> {
  const scaling = {
    ...{ rope_type: "llama3", factor: c.rope_factor, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: 32,
  };
  return {
    ...{ model_type: c.family, vocab_size: c.vocab, hidden_size: c.hidden },
    ...{ intermediate_size: c.ffn, num_hidden_layers: c.layers, head_dim: c.head_dim },
    ...{ num_attention_heads: c.heads, num_key_value_heads: c.kv_heads, rms_norm_eps: c.eps },
    ...{ rope_theta: c.rope_theta, rope_scaling: c.llama3 ? scaling : null },
    ...{ max_position_embeddings: c.max_position, tie_word_embeddings: c.tied },
  };
}

/**
 * The model of one case, as `build` in make.py makes it.
 *
 * @param change looks at the bytes of each base tensor before it is loaded
 */
export async function loadGoldenModel(
  name: string,
  change: (tensor: string, bytes: Uint8Array) => void = () => {},
): Promise<Model> {
  const settings = Case.parse(JSON.parse(await Deno.readTextFile(`${GOLDEN}/${name}.json`)));
  const architecture = parseArchitecture(hubConfig(settings), `${name}.json`);
  const model = await Model.create(architecture, {
    backend: "cpu",
    quantization: settings.quantization,
  });
  using file = await SafetensorsFile.open(`${GOLDEN}/${name}.safetensors`);
  const names = [...file.header.tensors.keys()];
  for (const key of names.filter((key) => key.startsWith("base."))) {
    const { info, data } = await file.read(key);
    change(key.slice("base.".length), data);
    await model.loadTensor(key.slice("base.".length), "BF16", info.shape, data);
  }
  await model.finalize();
  await model.attachLora({
    ...{ r: settings.rank, alpha: settings.alpha, dropout: 0, useRslora: settings.rslora },
    targetModules: settings.targets,
  });
  for (const key of names.filter((key) => key.startsWith("lora."))) {
    const { info, data } = await file.read(key);
    const values = toFloat32(data, info.dtype);
    await model.writeLora(key.slice("lora.".length), values);
  }
  return model;
}
