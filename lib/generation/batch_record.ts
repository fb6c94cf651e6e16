/** What a batch keeps of each answer, in its journal and in its results. */
import { z } from "zod";
import { INPUT_KINDS } from "@lib/safety/mod.ts";
import { SYSTEMS } from "@lib/generation/request.ts";
import { TURN_ACTIONS, TURN_FINISHES } from "@lib/generation/turn.ts";

const count = z.number().int().nonnegative();

/** Everything an answer depends on beside the weights and its prompt. */
export const BatchSettings = z.strictObject({
  system_prompt: z.string(),
  region: z.enum(["BD", "IN", "unknown"]),
  max_new_tokens: count,
  temperature: z.number(),
  top_p: z.number(),
  top_k: count,
  min_p: z.number(),
  repetition_penalty: z.number(),
});
export type BatchSettings = z.infer<typeof BatchSettings>;

/** One answer, or why there is none. */
export const BatchRecord = z.strictObject({
  /** Names the answer: weights, settings, prompt, seed. */
  key: z.string(),
  /** Place of the prompt in its file, from 0. */
  index: count,
  prompt: z.string(),
  system: z.enum(SYSTEMS),
  answer: z.string(),
  /** null: answered. */
  error: z.string().nullable(),
  /** Of the prompt: 0 none … 4 abuse, a minor, a threat. */
  level: z.literal([0, 1, 2, 3, 4]),
  kind: z.enum(INPUT_KINDS),
  /** What the guardrails did. */
  action: z.enum(TURN_ACTIONS),
  /** Kinds of what they found in the model's answer. */
  findings: z.array(z.string()),
  finish: z.enum(TURN_FINISHES).nullable(),
  prompt_tokens: count,
  tokens: count,
  /** From the beginning of its turn, waiting for a place included. */
  seconds: z.number().nonnegative(),
  seed: count,
  settings: BatchSettings,
  /** The rubric's gates; `failed`: form checks and kinds of safety violation. */
  gates: z.strictObject({ form: z.boolean(), safety: z.boolean(), failed: z.array(z.string()) }),
});
export type BatchRecord = z.infer<typeof BatchRecord>;

/** A results file. */
export const BatchResults = z.strictObject({
  format: z.literal(1),
  /** Where the prompts came from. */
  prompts: z.string(),
  base_model: z.string(),
  adapter: z.string().nullable(),
  quantization: z.string(),
  /** Whether every prompt has its record. */
  complete: z.boolean(),
  results: z.array(BatchRecord),
});
export type BatchResults = z.infer<typeof BatchResults>;
