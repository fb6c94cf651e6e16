/** An adapter of random weights for the tiny Llama: its answers differ from the base's, at once. */
import { LORA_MODULES } from "@lib/config.ts";
import type { LoraOptions, Model } from "@lib/engine/model.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { seededRandom } from "@lib/random.ts";
import { adapterShapes, saveAdapter } from "@lib/weights/adapter.ts";
import { loadModel } from "@lib/weights/folder.ts";

export const TINY_FOLDER = `${PROJECT_ROOT}data/tiny-llama`;
const LORA: LoraOptions = { r: 4, alpha: 8, dropout: 0, targetModules: LORA_MODULES };

/** Attaches it: B, zero at first, gets small random values. */
export async function attachTinyAdapter(model: Model): Promise<void> {
  await model.attachLora(LORA);
  const random = seededRandom(7);
  for (const [name, [rows, columns]] of adapterShapes(model.architecture, LORA.r, LORA_MODULES)) {
    if (!name.endsWith("lora_B.weight")) continue;
    const values = Float32Array.from({ length: rows * columns }, () => (random() - 0.5) * 0.1);
    await model.writeLora(name, values);
  }
}

/** Writes it as a PEFT folder. */
export async function saveTinyAdapter(folder: string): Promise<void> {
  const model = await loadModel(TINY_FOLDER, { backend: "cpu" });
  try {
    await attachTinyAdapter(model);
    await saveAdapter(folder, model, LORA, "data/tiny-llama");
  } finally {
    await model.close();
  }
}
