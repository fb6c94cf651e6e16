/** A model with random weights, ready to train. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { type LoraOptions, Model, type ModelOptions } from "@lib/engine/model.ts";

/** Creates it; the weights are made on the device. @throws {EngineError} */
export async function openRandomModel(
  architecture: Architecture,
  options: ModelOptions,
  lora: LoraOptions | null,
): Promise<Model> {
  const model = await Model.create(architecture, options);
  try {
    await model.loadRandom(1);
    await model.finalize();
    if (lora !== null) await model.attachLora(lora);
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}
