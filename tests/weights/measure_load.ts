/** Loads a generated sparse checkpoint and prints how much the process grew at its peak (JSON). */
import { parseArchitecture } from "@lib/engine/architecture.ts";
import { saveJson } from "@lib/files.ts";
import { expectedTensors } from "@lib/weights/checkpoint.ts";
import { loadModel } from "@lib/weights/folder.ts";
import { fileWith } from "./checkpoint_fixture.ts";

const CONFIG = {
  model_type: "llama",
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 13,
  num_attention_heads: 16,
  num_key_value_heads: 8,
  vocab_size: 2048,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
};

function peakBytes(): number {
  const kilobytes = /VmHWM:\s+(\d+) kB/.exec(Deno.readTextFileSync("/proc/self/status"))?.[1];
  return Number(kilobytes) * 1024;
}

const folder = await Deno.makeTempDir();
try {
  const architecture = parseArchitecture(CONFIG, "config.json");
  const header: Record<string, unknown> = {};
  let checkpointBytes = 0;
  for (const [name, { shape }] of expectedTensors(architecture)) {
    const bytes = 2 * shape.reduce((a, b) => a * b, 1);
    header[name] = {
      dtype: "BF16",
      shape,
      data_offsets: [checkpointBytes, checkpointBytes + bytes],
    };
    checkpointBytes += bytes;
  }
  await saveJson(`${folder}/config.json`, CONFIG);
  const path = `${folder}/model.safetensors`;
  const head = fileWith(JSON.stringify(header), new Uint8Array(0));
  await Deno.writeFile(path, head);
  await Deno.truncate(path, head.length + checkpointBytes);
  const before = peakBytes();
  const begun = performance.now();
  await using model = await loadModel(folder, { backend: "cpu" });
  const seconds = (performance.now() - begun) / 1000;
  const growth = peakBytes() - before;
  console.log(
    JSON.stringify({ growth, modelBytes: model.memory().total, checkpointBytes, seconds }),
  );
} finally {
  await Deno.remove(folder, { recursive: true });
}
