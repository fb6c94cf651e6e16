/** Learning-rate schedules, equal to transformers' `get_scheduler`. */
import type { Config } from "@lib/config.ts";

/** What a schedule depends on. */
export interface Schedule {
  readonly kind: Config["training"]["schedule"];
  readonly peak: number;
  readonly totalSteps: number;
  readonly warmupSteps: number;
}

/** Warm-up as transformers counts it: the share of all steps, rounded up. */
export function makeSchedule(training: Config["training"], totalSteps: number): Schedule {
  return {
    kind: training.schedule,
    peak: training.learning_rate,
    totalSteps,
    warmupSteps: Math.ceil(totalSteps * training.warmup_ratio),
  };
}

/**
 * Learning rate of the step after `stepsTaken` steps. With a warm-up the first step has rate 0, as
 * in transformers.
 *
 * @example
 * ```ts
 * import { learningRate } from "@lib/training/schedule.ts";
 * import { assertEquals } from "@std/assert";
 * const s = { kind: "linear", peak: 1, totalSteps: 10, warmupSteps: 2 } as const;
 * assertEquals([0, 1, 2, 6].map((t) => learningRate(s, t)), [0, 0.5, 1, 0.5]);
 * ```
 */
export function learningRate(s: Schedule, stepsTaken: number): number {
  if (stepsTaken < s.warmupSteps) return s.peak * stepsTaken / Math.max(1, s.warmupSteps);
  if (s.kind === "constant") return s.peak;
  const remaining = Math.max(1, s.totalSteps - s.warmupSteps);
  if (s.kind === "linear") return s.peak * Math.max(0, s.totalSteps - stepsTaken) / remaining;
  const progress = (stepsTaken - s.warmupSteps) / remaining;
  return s.peak * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
}
