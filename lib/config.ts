/**
 * Every knob of the workflow: one zod schema, three profiles, and the ways to set a value.
 *
 * Keys are in snake_case, as in the JSON files and logs they are written to. Values come from the
 * profile, then a JSON file, then `--set key=value`, the later winning.
 */
import { z } from "zod";
import { closest } from "@lib/closest.ts";

/** The seed's system prompt, word for word. */
export const SYSTEM_PROMPT = "আপনি একজন সহানুভূতিশীল বাংলা কাউন্সেলর। " +
  "আপনি খুব ধীরে, নম্রভাবে এবং সম্মানজনক ভঙ্গিতে উত্তর দেবেন। " +
  "ব্যক্তির অনুভূতিকে স্বীকার করবেন, আশ্বাস দেবেন এবং প্রয়োজন হলে " +
  "পেশাদার সাহায্য নেওয়ার পরামর্শ দেবেন, কিন্তু কোন চিকিৎসা বা আইনি পরামর্শ দেবেন না।";

/** The linears of a Llama layer, as PEFT names them. */
export const LORA_MODULES = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;

const positive = z.number().int().positive();
const fraction = z.number().min(0).max(1);

const DataConfig = z.strictObject({
  /** CSV to read; null: the real corpus if it lies in data/, else the embedded sample. */
  csv: z.string().nullable().default(null),
  /** `legacy` applies the original project's rules, defects included. */
  cleaning: z.enum(["strict", "legacy"]).default("strict"),
  /** Read only the first rows of the CSV; null: all. For smoke runs. */
  max_rows: positive.nullable().default(null),
  /** Character-5-gram Jaccard similarity from which two texts are near-duplicates. */
  near_duplicate_threshold: z.number().gt(0).max(1).default(0.9),
  /** Shares of train, validation and test. */
  split: z.tuple([fraction, fraction, fraction]).default([0.85, 0.1, 0.05]),
  /** The seed's cap on pairs taken before the split; null: all. */
  max_samples: positive.nullable().default(15000),
});

const ModelConfig = z.strictObject({
  /** A Hugging Face model folder, or a hub id. */
  base: z.string().min(1),
  /** A PEFT adapter folder that training starts from; null: a fresh one. */
  adapter: z.string().nullable().default(null),
  quantization: z.enum(["nf4_double", "nf4", "none"]).default("nf4_double"),
  /** Whether a quantised copy of a large checkpoint is kept, so that the next load takes seconds. */
  quantized_cache: z.boolean().default(true),
});

const PromptConfig = z.strictObject({
  system: z.string().default(SYSTEM_PROMPT),
  /** What the user's turn holds: the bare question, or the seed's `[Topic] Title Question`. */
  input: z.enum(["question", "topic_title_question"]).default("question"),
});

const LoraConfig = z.strictObject({
  r: positive.max(512).default(16),
  alpha: z.number().positive().default(32),
  dropout: z.number().min(0).lt(1).default(0.05),
  target_modules: z.array(z.enum(LORA_MODULES)).min(1).default([...LORA_MODULES]),
  use_rslora: z.boolean().default(false),
});

const TrainingConfig = z.strictObject({
  epochs: z.number().positive().default(1),
  /** Stop after this many optimiser steps; null: as the epochs say. */
  max_steps: positive.nullable().default(null),
  learning_rate: z.number().positive().default(3e-4),
  schedule: z.enum(["linear", "cosine", "constant"]).default("linear"),
  /** Share of all steps over which the learning rate rises from 0. */
  warmup_ratio: fraction.default(0.05),
  weight_decay: z.number().min(0).default(0.01),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  epsilon: z.number().positive().default(1e-8),
  /** Gradient norm from which it is scaled down; 0: never. */
  max_grad_norm: z.number().min(0).default(0.5),
  /** Samples an optimiser step (the seed's 2 × 16). */
  batch_size: positive.default(32),
  /** Longest sample, template and prompt included, in tokens. Longer ones are counted and left out. */
  max_sequence_tokens: positive.default(512),
  /** Tokens packed into one micro-batch; null: what the memory plan allows. */
  micro_batch_tokens: positive.nullable().default(null),
  /** `answer`: answer tokens and the final <|eot_id|>; `all`: every token, as the seed did. */
  loss_on: z.enum(["answer", "all"]).default("answer"),
  /** Lay the common template and system prompt down once a micro-batch. Changes no gradient. */
  share_prefix: z.boolean().default(true),
  shuffle: z.boolean().default(true),
  gradient_checkpointing: z.enum(["auto", "full", "none"]).default("auto"),
  /** Optimiser steps between validations; null: ten a run. */
  eval_every: positive.nullable().default(null),
  /** Training samples used, drawn by the seed, a smaller number from within a larger; null: all. */
  train_samples: positive.nullable().default(null),
  /**
   * Early stopping: validations without a lower loss after which training ends, the best adapter kept;
   * null: never.
   */
  patience: positive.nullable().default(null),
  /** Validation samples used during training; null: all. */
  eval_samples: positive.nullable().default(256),
  /** Optimiser steps between checkpoints; null: with every validation. */
  save_every: positive.nullable().default(null),
  /** What running the training again does when a checkpoint is there. */
  on_rerun: z.enum(["resume", "restart"]).default("resume"),
});

const GenerationConfig = z.strictObject({
  max_new_tokens: positive.default(160),
  temperature: z.number().min(0).default(0),
  top_p: z.number().gt(0).max(1).default(1),
  top_k: z.number().int().min(0).default(0),
  min_p: z.number().min(0).max(1).default(0),
  repetition_penalty: z.number().positive().default(1),
  /** Sequences decoded together. */
  batch_size: positive.default(16),
});

const EvaluationConfig = z.strictObject({
  /** Test items that answers are generated for; null: all. */
  samples: positive.nullable().default(null),
  /** Sentence encoder for semantic similarity, a folder or a hub id; null: a known one that is here. */
  semantic_model: z.string().min(1).nullable().default(null),
  bootstrap_draws: z.number().int().min(100).default(1000),
  bootstrap_seed: z.number().int().default(12345),
});

const EngineConfig = z.strictObject({
  backend: z.enum(["auto", "cpu", "cuda"]).default("auto"),
  /** CPU threads; 0: all. */
  threads: z.number().int().min(0).default(0),
  /** Cap on device memory such as "12GB"; null: what is free. */
  memory: z.string().regex(/^\d+(\.\d+)?\s*[kMGT]?i?B$/i).nullable().default(null),
  device: z.number().int().min(0).default(0),
});

/** The whole configuration. Unknown keys are errors. */
export const Config = z.strictObject({
  profile: z.enum(["tiny", "rtx3060", "full"]),
  seed: z.number().int().min(0).default(42),
  data: DataConfig.prefault({}),
  model: ModelConfig,
  prompt: PromptConfig.prefault({}),
  lora: LoraConfig.prefault({}),
  training: TrainingConfig.prefault({}),
  generation: GenerationConfig.prefault({}),
  evaluation: EvaluationConfig.prefault({}),
  engine: EngineConfig.prefault({}),
});
export type Config = z.infer<typeof Config>;

export type ProfileName = Config["profile"];

/** What each profile sets apart from the schema's defaults. */
export const PROFILES: Readonly<Record<ProfileName, Record<string, unknown>>> = {
  /**
   * The embedded tiny Llama and sample corpus: minutes on a CPU. A model this small needs more and larger
   * steps, and more rank, to take up a new kind of text: chosen on the validation part.
   */
  tiny: {
    model: { base: "data/tiny-llama" },
    lora: { r: 64, alpha: 128 },
    training: {
      learning_rate: 1.5e-3,
      batch_size: 8,
      epochs: 2,
      max_grad_norm: 1,
      eval_samples: 64,
    },
    generation: { max_new_tokens: 128, batch_size: 64 },
  },
  /** The seed's run: one epoch over 15,000 pairs on a 12 GB card. */
  rtx3060: {
    model: { base: "meta-llama/Llama-3.1-8B-Instruct" },
    engine: { memory: "11GB" },
    evaluation: { samples: 743 },
  },
  /** The seed's "future improvements": the whole corpus, three epochs, rank 32. */
  full: {
    model: { base: "meta-llama/Llama-3.1-8B-Instruct" },
    data: { max_samples: null },
    lora: { r: 32, alpha: 64 },
    training: { epochs: 3, max_sequence_tokens: 768 },
  },
};

/** The seed's names for the same knobs, accepted wherever a key is. */
export const SEED_ALIASES: Readonly<Record<string, string>> = {
  max_seq_length: "training.max_sequence_tokens",
  learning_rate: "training.learning_rate",
  num_train_epochs: "training.epochs",
  weight_decay: "training.weight_decay",
  warmup_ratio: "training.warmup_ratio",
  max_grad_norm: "training.max_grad_norm",
  max_steps: "training.max_steps",
  lora_r: "lora.r",
  lora_alpha: "lora.alpha",
  lora_dropout: "lora.dropout",
  max_train_samples: "data.max_samples",
};

/** A configuration that cannot be used. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Where values come from; later ones win. */
export interface ConfigSources {
  /** @default {"tiny"} */
  readonly profile?: ProfileName;
  /** Parsed JSON of a config file, and its name for messages. */
  readonly file?: { readonly name: string; readonly value: unknown };
  /** `key=value` pairs; the value is JSON, or else a string. */
  readonly set?: readonly string[];
}

/**
 * Builds the configuration from its sources.
 *
 * @throws {ConfigError} an unknown key (with the nearest known one), a wrong type or range
 *
 * @example
 * ```ts
 * import { resolveConfig } from "@lib/config.ts";
 * import { assertEquals } from "@std/assert";
 * const config = resolveConfig({ profile: "tiny", set: ["lora.r=8", "lora_dropout=0"] });
 * assertEquals([config.lora.r, config.lora.dropout], [8, 0]);
 * ```
 */
export function resolveConfig(sources: ConfigSources = {}): Config {
  const file = sources.file === undefined ? {} : objectOf(sources.file.value, sources.file.name);
  const named = file["profile"];
  const profile = sources.profile ?? (isProfile(named) ? named : "tiny");
  const tree: Record<string, unknown> = { profile };
  merge(tree, structuredClone(PROFILES[profile]));
  mergeFile(tree, file);
  tree["profile"] = profile;
  for (const pair of sources.set ?? []) applySet(tree, pair);
  const result = Config.safeParse(tree);
  if (!result.success) throw new ConfigError(explain(result.error, sources.file?.name));
  checkAcrossKeys(result.data);
  return result.data;
}

/** Whether a value names a profile. */
export function isProfile(value: unknown): value is ProfileName {
  return typeof value === "string" && Object.hasOwn(PROFILES, value);
}

function objectOf(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ConfigError(`${name}: expected a JSON object, found ${JSON.stringify(value)}`);
  }
  return value as Record<string, unknown>;
}

function mergeFile(tree: Record<string, unknown>, file: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(file)) {
    const alias = SEED_ALIASES[key];
    if (alias !== undefined) setPath(tree, alias, value);
    else merge(tree, { [key]: value });
  }
}

function merge(target: Record<string, unknown>, source: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(source)) {
    const known = target[key];
    const both = isPlainObject(known) && isPlainObject(value);
    if (both) merge(known, value);
    else target[key] = value;
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function applySet(tree: Record<string, unknown>, pair: string): void {
  const split = pair.indexOf("=");
  if (split <= 0) {
    throw new ConfigError(`--set: expected key=value such as lora.r=8, found '${pair}'`);
  }
  const key = pair.slice(0, split).trim();
  const text = pair.slice(split + 1).trim();
  let value: unknown = text;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON: a bare string such as a path.
  }
  setPath(tree, SEED_ALIASES[key] ?? key, value);
}

function setPath(tree: Record<string, unknown>, path: string, value: unknown): void {
  const parts = path.split(".");
  const last = parts.pop() ?? path;
  let node = tree;
  for (const part of parts) {
    const child = node[part];
    if (isPlainObject(child)) node = child;
    else {
      const made: Record<string, unknown> = {};
      node[part] = made;
      node = made;
    }
  }
  node[last] = value;
}

/** Every dotted key of the schema. */
export function configKeys(): string[] {
  const sections = Config.shape;
  const keys: string[] = [];
  for (const [name, schema] of Object.entries(sections)) {
    const inner = sectionShape(schema);
    if (inner === null) keys.push(name);
    else for (const key of Object.keys(inner)) keys.push(`${name}.${key}`);
  }
  return keys;
}

function sectionShape(schema: z.ZodType): Record<string, unknown> | null {
  const bare = schema instanceof z.ZodPrefault ? schema.unwrap() : schema;
  return bare instanceof z.ZodObject ? bare.shape : null;
}

function explain(error: z.ZodError, file: string | undefined): string {
  const lines = error.issues.map((issue) => {
    const path = issue.path.join(".");
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => unknownKey(path === "" ? key : `${path}.${key}`)).join("\n");
    }
    return `${path || "(root)"}: ${issue.message}`;
  });
  const where = file === undefined ? "The configuration" : `The configuration (${file})`;
  return `${where} cannot be used:\n${lines.join("\n")}`;
}

function unknownKey(key: string): string {
  const names = [...configKeys(), ...Object.keys(SEED_ALIASES)];
  const guess = closest(key, names);
  return `${key}: no such key${guess === null ? "" : `; did you mean '${guess}'?`}`;
}

function checkAcrossKeys(config: Config): void {
  const sum = config.data.split.reduce((a, b) => a + b, 0);
  if (Math.abs(sum - 1) > 1e-9) {
    throw new ConfigError(`data.split: expected three shares that sum to 1, current sum is ${sum}`);
  }
}
