/** What a PEFT adapter folder holds, module by module, and how the engine's one rank takes it. */
import { z } from "zod";
import { LORA_MODULES } from "@lib/config.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import type { LoraModule, LoraOptions } from "@lib/engine/model.ts";
import { exists, loadJson } from "@lib/files.ts";
import {
  AdapterError,
  isTargeted,
  patternValue,
  PeftConfig,
  refuseUnsupported,
} from "@lib/weights/peft_config.ts";
import { SafetensorsFile, type TensorInfo } from "@lib/weights/safetensors.ts";

/** PEFT puts this before the model's own names. */
export const PEFT_PREFIX = "base_model.model.";

const TENSOR = new RegExp(
  String
    .raw`^base_model\.model\.(model\.layers\.(\d+)\.(self_attn|mlp)\.(\w+))\.lora_([AB])\.weight$`,
);

/** One adapted linear: W + scale·B·A. */
export interface AdapterModule {
  /** Its name in the base model, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly key: string;
  readonly layer: number;
  readonly module: LoraModule;
  readonly rank: number;
  /** α/r, or α/√r with rank-stabilised scaling, by its own α and r. */
  readonly scale: number;
  /** Columns of A and rows of B. */
  readonly inputs: number;
  readonly outputs: number;
}

/** An adapter as it lies in its folder. */
export interface AdapterPlan {
  readonly folder: string;
  readonly config: PeftConfig;
  readonly modules: ReadonlyMap<string, AdapterModule>;
  /** As the engine holds it: one rank, the largest; the scale of the configuration. */
  readonly lora: LoraOptions;
  /** The engine's scale. A module of another scale has scale / reference folded into its B. */
  readonly referenceScale: number;
  /** What is represented in another way than in the file; empty for a plain adapter. */
  readonly notes: readonly string[];
}

/**
 * Reads an adapter's settings and the names and shapes of its tensors.
 *
 * @throws {AdapterError} missing files, a kind of adapter the engine has not, tensors that do not
 * belong to the settings
 */
export async function loadAdapterPlan(folder: string): Promise<AdapterPlan> {
  const path = `${folder}/adapter_config.json`;
  if (!await exists(path)) {
    throw new AdapterError(
      `${folder}: expected a PEFT adapter folder, found no adapter_config.json. ` +
        "Train one first, or give another folder with --adapter DIR.",
    );
  }
  const parsed = PeftConfig.safeParse(await loadJson(path, "Save the adapter again."));
  if (!parsed.success) throw new AdapterError(`${path}: ${z.prettifyError(parsed.error)}`);
  refuseUnsupported(parsed.data, path);
  using file = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`);
  return planAdapter(parsed.data, file.header.tensors, folder);
}

/** The plan of parsed settings and a header; see {@linkcode loadAdapterPlan}. */
export function planAdapter(
  config: PeftConfig,
  tensors: ReadonlyMap<string, TensorInfo>,
  folder: string,
): AdapterPlan {
  const path = `${folder}/adapter_model.safetensors`;
  const modules = new Map<string, AdapterModule>();
  for (const name of tensors.keys()) {
    const match = TENSOR.exec(name);
    const [, key = "", layer = "", , module = ""] = match ?? [];
    if (match === null || !isLoraModule(module)) {
      throw new AdapterError(
        `${path}: expected LoRA tensors of ${LORA_MODULES.join(", ")} in model.layers, found ` +
          `'${name}': this engine adapts no such module. Train without it.`,
      );
    }
    if (modules.has(key)) continue;
    modules.set(key, planModule(config, tensors, { key, layer: Number(layer), module }, path));
  }
  if (modules.size === 0) {
    throw new AdapterError(`${path}: expected LoRA tensors, found none. Save the adapter again.`);
  }
  return { folder, config, modules, ...forEngine(config, [...modules.values()]) };
}

function isLoraModule(name: string): name is LoraModule {
  return (LORA_MODULES as readonly string[]).includes(name);
}

function planModule(
  config: PeftConfig,
  tensors: ReadonlyMap<string, TensorInfo>,
  { key, layer, module }: Pick<AdapterModule, "key" | "layer" | "module">,
  path: string,
): AdapterModule {
  if (!isTargeted(config, key, path)) {
    throw new AdapterError(
      `${path}: the tensors of '${key}' belong to no module of adapter_config.json. ` +
        "The two files are of different adapters: save the adapter again.",
    );
  }
  const rank = patternValue(config.rank_pattern, key, config.r, path);
  const alpha = patternValue(config.alpha_pattern, key, config.lora_alpha, path);
  const inputs = shapeOf(tensors, `${PEFT_PREFIX}${key}.lora_A.weight`, path)[1] ?? 0;
  const outputs = shapeOf(tensors, `${PEFT_PREFIX}${key}.lora_B.weight`, path)[0] ?? 0;
  expectShape(tensors, `${PEFT_PREFIX}${key}.lora_A.weight`, [rank, inputs], path);
  expectShape(tensors, `${PEFT_PREFIX}${key}.lora_B.weight`, [outputs, rank], path);
  const scale = alpha / (config.use_rslora ? Math.sqrt(rank) : rank);
  return { key, layer, module, rank, scale, inputs, outputs };
}

function shapeOf(
  tensors: ReadonlyMap<string, TensorInfo>,
  name: string,
  path: string,
): readonly number[] {
  const info = tensors.get(name);
  if (info !== undefined) return info.shape;
  throw new AdapterError(
    `${path}: expected the tensor ${name}, found none. The adapter is incomplete: save it again.`,
  );
}

function expectShape(
  tensors: ReadonlyMap<string, TensorInfo>,
  name: string,
  shape: readonly number[],
  path: string,
): void {
  const found = shapeOf(tensors, name, path);
  if (found.join() === shape.join()) return;
  throw new AdapterError(
    `${path}: expected ${name} of shape [${shape}], found [${found}]. ` +
      "The adapter was made for another model or with another rank than its settings say.",
  );
}

/** One rank and one scale for all modules. */
function forEngine(
  config: PeftConfig,
  modules: readonly AdapterModule[],
): Pick<AdapterPlan, "lora" | "referenceScale" | "notes"> {
  const r = Math.max(...modules.map((m) => m.rank));
  const root = (n: number) => config.use_rslora ? Math.sqrt(n) : n;
  const referenceScale = config.lora_alpha / root(config.r);
  const alpha = r === config.r ? config.lora_alpha : referenceScale * root(r);
  const padded = modules.filter((m) => m.rank !== r).length;
  const folded = modules.filter((m) => m.scale !== referenceScale).length;
  const notes: string[] = [];
  if (padded > 0) {
    notes.push(
      `${padded} of ${modules.length} modules have a rank below ${r}: zero rows fill them up, ` +
        "which changes no output and stays zero in training.",
    );
  }
  if (folded > 0) {
    notes.push(
      `${folded} of ${modules.length} modules have another alpha/rank than ${referenceScale}: the ` +
        "factor is folded into their B, which changes no output; further training moves them at " +
        "that factor's pace.",
    );
  }
  const targetModules = LORA_MODULES.filter((name) => modules.some((m) => m.module === name));
  const lora = {
    ...{ r, alpha, dropout: config.lora_dropout, targetModules },
    useRslora: config.use_rslora,
  };
  return { lora, referenceScale, notes };
}

/**
 * Checks an adapter against the model it is to be used on: every targeted linear is there, of its
 * size, and none beyond the model's layers.
 *
 * @throws {AdapterError} naming the module
 */
export function checkAgainstModel(plan: AdapterPlan, a: Architecture): void {
  const path = `${plan.folder}/adapter_model.safetensors`;
  const sizes = linearSizes(a);
  for (const { key, module, inputs, outputs, layer } of plan.modules.values()) {
    const expected = sizes[module];
    if (layer < a.numLayers && inputs === expected.inputs && outputs === expected.outputs) continue;
    throw new AdapterError(
      `${path}: expected modules of a model with ${a.numLayers} layers and ${module} of shape ` +
        `[${expected.outputs},${expected.inputs}], found ${key} of [${outputs},${inputs}]. ` +
        "The adapter was made for another model: give that one with --model.",
    );
  }
  for (let layer = 0; layer < a.numLayers; layer++) {
    for (const module of LORA_MODULES) {
      const key = `model.layers.${layer}.${sizes[module].block}.${module}`;
      if (plan.modules.has(key) || !isTargeted(plan.config, key, path)) continue;
      throw new AdapterError(
        `${path}: expected the tensors of ${PEFT_PREFIX}${key}, which adapter_config.json ` +
          "targets, found none. The adapter was made for another model or is incomplete.",
      );
    }
  }
}

/** Shapes of the linears of a layer, by module. */
export function linearSizes(
  a: Architecture,
): Readonly<
  Record<LoraModule, { readonly block: string; readonly outputs: number; readonly inputs: number }>
> {
  const q = a.numHeads * a.headDim;
  const kv = a.numKvHeads * a.headDim;
  const { hiddenSize: h, intermediateSize: m } = a;
  return {
    q_proj: { block: "self_attn", outputs: q, inputs: h },
    k_proj: { block: "self_attn", outputs: kv, inputs: h },
    v_proj: { block: "self_attn", outputs: kv, inputs: h },
    o_proj: { block: "self_attn", outputs: h, inputs: q },
    gate_proj: { block: "mlp", outputs: m, inputs: h },
    up_proj: { block: "mlp", outputs: m, inputs: h },
    down_proj: { block: "mlp", outputs: h, inputs: m },
  };
}
