/** LoRA adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`. */
import { LORA_MODULES } from "@lib/config.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import type { LoraModule, LoraOptions, Model } from "@lib/engine/model.ts";
import { saveJson } from "@lib/files.ts";
import { hubIdOf, hubRevision } from "@lib/weights/hub/model_id.ts";
import {
  type AdapterModule,
  type AdapterPlan,
  checkAgainstModel,
  linearSizes,
  loadAdapterPlan,
  PEFT_PREFIX,
} from "@lib/weights/peft_plan.ts";
import {
  SafetensorsFile,
  saveSafetensors,
  type TensorData,
  toFloat32,
} from "@lib/weights/safetensors.ts";

export { AdapterError } from "@lib/weights/peft_config.ts";

/** Adapter tensor → its shape, for one architecture and configuration. */
export function adapterShapes(
  a: Architecture,
  r: number,
  modules: readonly LoraModule[],
): Map<string, [number, number]> {
  const sizes = linearSizes(a);
  const shapes = new Map<string, [number, number]>();
  for (let layer = 0; layer < a.numLayers; layer++) {
    for (const module of LORA_MODULES) {
      if (!modules.includes(module)) continue;
      const { block, outputs, inputs } = sizes[module];
      const prefix = `model.layers.${layer}.${block}.${module}`;
      shapes.set(`${prefix}.lora_A.weight`, [r, inputs]);
      shapes.set(`${prefix}.lora_B.weight`, [outputs, r]);
    }
  }
  return shapes;
}

/**
 * Saves the model's adapter so that PEFT loads it unmodified.
 *
 * @param folder made if missing; both files are replaced atomically
 * @param baseModel `model.base`, written as `base_model_name_or_path` and `revision`
 */
export async function saveAdapter(
  folder: string,
  model: Model,
  lora: LoraOptions,
  baseModel: string,
): Promise<void> {
  const tensors = new Map<string, TensorData>();
  for (const [name, shape] of adapterShapes(model.architecture, lora.r, lora.targetModules)) {
    const data = await model.readLora(name, shape[0] * shape[1]);
    tensors.set(`${PEFT_PREFIX}${name}`, { dtype: "F32", shape, data });
  }
  await Deno.mkdir(folder, { recursive: true });
  await saveSafetensors(`${folder}/adapter_model.safetensors`, tensors, { format: "pt" });
  await saveJson(`${folder}/adapter_config.json`, {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: hubIdOf(baseModel)?.name ?? baseModel,
    revision: hubRevision(baseModel),
    r: lora.r,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    target_modules: [...lora.targetModules],
    bias: "none",
    inference_mode: true,
    fan_in_fan_out: false,
    use_rslora: lora.useRslora ?? false,
    use_dora: false,
    init_lora_weights: true,
    modules_to_save: null,
    layers_to_transform: null,
    layers_pattern: null,
    rank_pattern: {},
    alpha_pattern: {},
  });
}

/**
 * Reads an adapter's settings as the engine takes them.
 *
 * @throws {AdapterError} missing files, or a kind of adapter the engine has not, by name
 */
export async function loadAdapterConfig(folder: string): Promise<LoraOptions> {
  return (await loadAdapterPlan(folder)).lora;
}

/**
 * Attaches an adapter folder to a model: any PEFT LoRA of its linears, whatever its ranks, alphas and
 * targets. Smaller ranks are filled up with zeros and other scales folded into B, so that the
 * model's outputs are those of the file.
 *
 * @param dropout of further training; undefined: the adapter's own
 * @returns the settings it was attached with
 * @throws {AdapterError} tensors missing, surplus or of another shape than this model needs
 */
export async function loadAdapter(
  folder: string,
  model: Model,
  dropout?: number,
): Promise<LoraOptions> {
  const plan = await loadAdapterPlan(folder);
  checkAgainstModel(plan, model.architecture);
  const lora = dropout === undefined ? plan.lora : { ...plan.lora, dropout };
  using file = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`);
  await model.attachLora(lora);
  for (const [name, [rows, columns]] of shapesOf(model, lora)) {
    const key = name.slice(0, name.indexOf(".lora_"));
    const part = plan.modules.get(key);
    const values = part === undefined
      ? new Float32Array(rows * columns)
      : await readPadded(file, name, part, plan, columns);
    await model.writeLora(name, values);
  }
  return lora;
}

function shapesOf(model: Model, lora: LoraOptions): Map<string, [number, number]> {
  return adapterShapes(model.architecture, lora.r, lora.targetModules);
}

/** A with zero rows, or B with zero columns, up to the engine's rank; B carries its own scale. */
async function readPadded(
  file: SafetensorsFile,
  name: string,
  part: AdapterModule,
  { lora, referenceScale }: AdapterPlan,
  columns: number,
): Promise<Float32Array<ArrayBuffer>> {
  const { info, data } = await file.read(`${PEFT_PREFIX}${name}`);
  const values = toFloat32(data, info.dtype);
  const isA = name.endsWith(".lora_A.weight");
  const padded = new Float32Array(lora.r * (isA ? part.inputs : part.outputs));
  const factor = part.scale / referenceScale;
  for (let row = 0; row < (info.shape[0] ?? 0); row++) {
    const width = info.shape[1] ?? 0;
    const source = values.subarray(row * width, (row + 1) * width);
    padded.set(isA || factor === 1 ? source : source.map((v) => v * factor), row * columns);
  }
  return padded;
}
