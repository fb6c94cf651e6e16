/** LoRA adapters in PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`. */
import { z } from "zod";
import { LORA_MODULES } from "@lib/config.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import type { LoraModule, LoraOptions, Model } from "@lib/engine/model.ts";
import { exists, loadJson, saveJson } from "@lib/files.ts";
import { hubIdOf, hubRevision } from "@lib/weights/hub/model_id.ts";
import {
  SafetensorsFile,
  saveSafetensors,
  type TensorData,
  toFloat32,
} from "@lib/weights/safetensors.ts";

/** An adapter that is not of the supported kind, or not whole. */
export class AdapterError extends Error {
  override readonly name = "AdapterError";
}

/** What is read of PEFT's `adapter_config.json`; it has many more keys. */
const AdapterConfig = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.number().int().positive(),
  lora_alpha: z.number().positive(),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: z.union([z.array(z.string()), z.string()]),
  bias: z.string().default("none"),
  use_rslora: z.boolean().default(false),
  use_dora: z.boolean().default(false),
  fan_in_fan_out: z.boolean().default(false),
  modules_to_save: z.array(z.string()).nullish(),
  rank_pattern: z.record(z.string(), z.number()).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  layers_to_transform: z.union([z.number(), z.array(z.number())]).nullish(),
});

/** Adapter tensor → its shape, for one architecture and configuration. */
export function adapterShapes(
  a: Architecture,
  r: number,
  modules: readonly LoraModule[],
): Map<string, [number, number]> {
  const q = a.numHeads * a.headDim;
  const kv = a.numKvHeads * a.headDim;
  const sizes: Record<LoraModule, [string, number, number]> = {
    q_proj: ["self_attn", q, a.hiddenSize],
    k_proj: ["self_attn", kv, a.hiddenSize],
    v_proj: ["self_attn", kv, a.hiddenSize],
    o_proj: ["self_attn", a.hiddenSize, q],
    gate_proj: ["mlp", a.intermediateSize, a.hiddenSize],
    up_proj: ["mlp", a.intermediateSize, a.hiddenSize],
    down_proj: ["mlp", a.hiddenSize, a.intermediateSize],
  };
  const shapes = new Map<string, [number, number]>();
  for (let layer = 0; layer < a.numLayers; layer++) {
    for (const module of LORA_MODULES) {
      if (!modules.includes(module)) continue;
      const [block, out, input] = sizes[module];
      const prefix = `model.layers.${layer}.${block}.${module}`;
      shapes.set(`${prefix}.lora_A.weight`, [r, input]);
      shapes.set(`${prefix}.lora_B.weight`, [out, r]);
    }
  }
  return shapes;
}

/** PEFT puts this before the model's own names. */
const PEFT_PREFIX = "base_model.model.";

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
 * Reads an adapter's settings.
 *
 * @throws {AdapterError} missing files, or a kind of adapter the engine has not, by name
 */
export async function loadAdapterConfig(folder: string): Promise<LoraOptions> {
  const path = `${folder}/adapter_config.json`;
  if (!await exists(path)) {
    throw new AdapterError(
      `${folder}: expected a PEFT adapter folder, found no adapter_config.json. ` +
        "Train one first, or give another folder with --adapter DIR.",
    );
  }
  const parsed = AdapterConfig.safeParse(await loadJson(path, "Save the adapter again."));
  if (!parsed.success) throw new AdapterError(`${path}: ${z.prettifyError(parsed.error)}`);
  const config = parsed.data;
  const refused = unsupportedFeature(config);
  if (refused !== null) throw new AdapterError(`${path}: ${refused} is not supported.`);
  return {
    r: config.r,
    alpha: config.lora_alpha,
    dropout: config.lora_dropout,
    targetModules: parseTargets(config.target_modules, path),
    useRslora: config.use_rslora,
  };
}

function unsupportedFeature(config: z.infer<typeof AdapterConfig>): string | null {
  if (config.use_dora) return "DoRA (use_dora)";
  if (config.fan_in_fan_out) return "fan_in_fan_out";
  if (config.bias !== "none") return `bias '${config.bias}'`;
  if ((config.modules_to_save ?? []).length > 0) return "modules_to_save";
  if (Object.keys(config.rank_pattern ?? {}).length > 0) return "rank_pattern";
  if (Object.keys(config.alpha_pattern ?? {}).length > 0) return "alpha_pattern";
  if ((config.layers_to_transform ?? null) !== null) return "layers_to_transform";
  return null;
}

function parseTargets(targets: string | readonly string[], path: string): LoraModule[] {
  if (targets === "all-linear") return [...LORA_MODULES];
  const names = typeof targets === "string" ? [targets] : targets;
  const short = names.map((name) => name.slice(name.lastIndexOf(".") + 1));
  const unknown = short.find((name) => !(LORA_MODULES as readonly string[]).includes(name));
  if (unknown !== undefined || short.length === 0) {
    throw new AdapterError(
      `${path}: expected target_modules among ${LORA_MODULES.join(", ")}, ` +
        `found '${unknown ?? "none"}'.`,
    );
  }
  return LORA_MODULES.filter((module) => short.includes(module));
}

/**
 * Attaches an adapter folder to a model.
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
  const own = await loadAdapterConfig(folder);
  const lora = dropout === undefined ? own : { ...own, dropout };
  const path = `${folder}/adapter_model.safetensors`;
  using file = await SafetensorsFile.open(path);
  const shapes = adapterShapes(model.architecture, lora.r, lora.targetModules);
  checkTensors(file, shapes, path);
  await model.attachLora(lora);
  for (const name of shapes.keys()) {
    const { info, data } = await file.read(`${PEFT_PREFIX}${name}`);
    await model.writeLora(name, toFloat32(data, info.dtype));
  }
  return lora;
}

function checkTensors(
  file: SafetensorsFile,
  shapes: ReadonlyMap<string, readonly number[]>,
  path: string,
): void {
  for (const [name, shape] of shapes) {
    const info = file.header.tensors.get(`${PEFT_PREFIX}${name}`);
    if (info === undefined || info.shape.join() !== shape.join()) {
      const found = info === undefined ? "none" : `[${info.shape}]`;
      throw new AdapterError(
        `${path}: expected ${PEFT_PREFIX}${name} of shape [${shape}], found ${found}. ` +
          "The adapter was made for another model or is incomplete.",
      );
    }
  }
  for (const name of file.header.tensors.keys()) {
    if (!shapes.has(name.slice(PEFT_PREFIX.length))) {
      throw new AdapterError(
        `${path}: the tensor '${name}' belongs to no module of adapter_config.json.`,
      );
    }
  }
}
