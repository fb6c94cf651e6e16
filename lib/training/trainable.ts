/** Which models a machine can train, and at what lengths, by the planner that training itself uses. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { parseBytes } from "@lib/engine/memory.ts";
import { type LoraOptions, type ModelOptions, planTraining } from "@lib/engine/model.ts";
import { loadLibrary } from "@lib/engine/library.ts";
import { hostChoices } from "@lib/training/plan.ts";

/** Sample lengths asked about, tokens. */
export const LENGTHS = [512, 1024, 2048, 4096] as const;

/** What it takes to train samples of one length, one at a time. */
export interface Trainable {
  /** Tokens of the longest sample. */
  readonly length: number;
  /** Device bytes, the context included. */
  readonly bytes: number;
  /** Whether something has to lie in host memory. */
  readonly onHost: boolean;
}

/**
 * The longest samples that fit, of {@linkcode LENGTHS}, at the least memory: one sample a micro-batch,
 * activations recomputed.
 *
 * @param memory such as "12GB"; null: what is free
 * @returns null when not even the shortest fits
 */
export function longestTrainable(
  architecture: Architecture,
  model: ModelOptions,
  lora: LoraOptions,
  memory: string | null = null,
): Trainable | null {
  const { backend } = loadLibrary(model.backend ?? "auto").description;
  const budget = memory === null ? {} : { memoryBudget: parseBytes(memory) };
  for (const length of LENGTHS.toReversed()) {
    if (length > architecture.maxPosition) continue;
    const train = {
      maxTokens: length,
      maxSequences: 1,
      maxTargets: length + 1,
      recompute: "full",
    } as const;
    for (const hostMemory of hostChoices(backend, architecture)) {
      const options = { ...model, ...budget, hostMemory };
      const { report, problem } = planTraining(architecture, options, lora, train);
      if (problem === null) return { length, bytes: report.total, onHost: hostMemory.length > 0 };
    }
  }
  return null;
}
