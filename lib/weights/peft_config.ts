/** PEFT's `adapter_config.json`: what is read of it, and which modules it means. */
import { z } from "zod";

/** An adapter that is not of the supported kind, or not whole. */
export class AdapterError extends Error {
  override readonly name = "AdapterError";
}

const names = z.union([z.array(z.string()), z.string()]);

/** What is read of the file; it has many more keys. */
export const PeftConfig = z.looseObject({
  peft_type: z.literal("LORA"),
  base_model_name_or_path: z.string().nullish(),
  r: z.number().int().positive(),
  lora_alpha: z.number().positive(),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: names,
  exclude_modules: names.nullish(),
  bias: z.string().default("none"),
  use_rslora: z.boolean().default(false),
  fan_in_fan_out: z.boolean().default(false),
  init_lora_weights: z.unknown().optional(),
  modules_to_save: z.array(z.string()).nullish(),
  rank_pattern: z.record(z.string(), z.number().int().positive()).nullish(),
  alpha_pattern: z.record(z.string(), z.number().positive()).nullish(),
  layers_to_transform: z.union([z.number(), z.array(z.number())]).nullish(),
  layers_pattern: names.nullish(),
});
export type PeftConfig = z.infer<typeof PeftConfig>;

/** Keys that, when set, ask for something the engine has not. */
const REFUSED: Readonly<Record<string, string>> = {
  use_dora: "DoRA rescales every row of the weight",
  modules_to_save: "it replaces whole modules of the base model",
  lora_bias: "the engine's B has no bias",
  use_qalora: "QA-LoRA pools the inputs of A",
  use_bdlora: "its matrices are block-diagonal",
  layer_replication: "it changes the model's layers",
  trainable_token_indices: "it replaces rows of the embedding",
  target_parameters: "it adapts bare parameters, not linears",
  alora_invocation_tokens: "it is active only after certain tokens",
  arrow_config: "it mixes several adapters",
  kasa_config: "KaSA changes the base weights",
  velora_config: "VeLoRA changes how A is trained",
  monteclora_config: "MonteCLoRA samples its weights",
};

/** Initialisations that change the base weights, so that the adapter does not fit the original. */
const BASE_CHANGING = /^(pissa|olora|loftq|corda|lora_ga)/;

/**
 * Refuses what the engine cannot represent.
 *
 * @throws {AdapterError} naming the key, what was found, why, and what to do
 */
export function refuseUnsupported(config: PeftConfig, path: string): void {
  const refuse = (key: string, value: unknown, why: string) => {
    throw new AdapterError(
      `${path}: expected a plain LoRA adapter, found ${key} ${JSON.stringify(value)}: ${why}, ` +
        "which this engine cannot represent. Merge it into the base model with PEFT, or train " +
        "one without it.",
    );
  };
  if (config.bias !== "none") refuse("bias", config.bias, "it changes biases of the base model");
  if (config.fan_in_fan_out) refuse("fan_in_fan_out", true, "the weights are transposed");
  for (const [key, why] of Object.entries(REFUSED)) {
    if (isSet(config[key])) refuse(key, config[key], why);
  }
  const initial = config.init_lora_weights;
  if (typeof initial === "string" && BASE_CHANGING.test(initial)) {
    refuse("init_lora_weights", initial, "it changes the base weights the adapter belongs to");
  }
}

function isSet(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/**
 * Whether a module carries the adapter, by PEFT's rules: a list matches whole names or what ends in
 * `.name`; a string is an expression the whole name must match, or `all-linear`.
 *
 * @param key the module's name in the base model, e.g. `model.layers.0.self_attn.q_proj`
 */
export function isTargeted(config: PeftConfig, key: string, path: string): boolean {
  const excluded = config.exclude_modules ?? [];
  if (excluded.length > 0 && matchesNames(excluded, key, path)) return false;
  const targets = config.target_modules;
  if (targets === "all-linear") return true;
  if (!matchesNames(targets, key, path)) return false;
  if (typeof targets === "string" || targets.includes(key)) return true;
  return isTransformedLayer(config, key, path);
}

function matchesNames(targets: string | readonly string[], key: string, path: string): boolean {
  if (typeof targets === "string") return expression(`^(?:${targets})$`, path).test(key);
  return targets.some((name) => key === name || key.endsWith(`.${name}`));
}

function isTransformedLayer(config: PeftConfig, key: string, path: string): boolean {
  const layers = config.layers_to_transform ?? null;
  if (layers === null || (Array.isArray(layers) && layers.length === 0)) return true;
  const given = config.layers_pattern ?? [];
  const patterns = typeof given === "string" ? [given] : given;
  const sources = patterns.length === 0
    ? [String.raw`^.*?\.[^.]*\.(\d+)\.`]
    : patterns.map((pattern) => String.raw`^(?:.*?\.)?(?:${pattern})\.(\d+)\.`);
  for (const source of sources) {
    const index = expression(source, path).exec(key)?.[1];
    if (index !== undefined) return [layers].flat().includes(Number(index));
  }
  return false;
}

/** A value of `rank_pattern` or `alpha_pattern` for a module: the first key that ends its name. */
export function patternValue(
  patterns: Readonly<Record<string, number>> | null | undefined,
  key: string,
  otherwise: number,
  path: string,
): number {
  for (const [pattern, value] of Object.entries(patterns ?? {})) {
    if (expression(String.raw`^(?:.*\.)?(?:${pattern})$`, path).test(key)) return value;
  }
  return otherwise;
}

function expression(source: string, path: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new AdapterError(
      `${path}: expected module names or a simple regular expression, found one that cannot be ` +
        `read here (${why}). Write the modules as a list instead.`,
    );
  }
}
