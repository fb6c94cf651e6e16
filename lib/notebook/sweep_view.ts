/** A sweep's runs to look at: a row each, and their validation curves. */
import type { RunComparison } from "@lib/experiment/compare_runs.ts";
import type { SweepResult } from "@lib/workflow/sweep.ts";
import type { Figure } from "./figure.ts";
import { line } from "./plot_lines.ts";

/** What each run of a sweep came to. */
export function sweepRows(results: readonly SweepResult[]) {
  return results.map((one) => ({
    run: one.name,
    steps: one.steps,
    "trainable parameters": one.trainable_parameters,
    "validation loss": one.validation_loss,
    perplexity: one.validation_perplexity,
  }));
}

/** Validation losses of compared runs by step. */
export function validationCurves({ curves }: Pick<RunComparison, "curves">, title: string): Figure {
  const series = curves.map(({ name, validation_steps: x, validation_loss: y }) => ({
    name,
    x,
    y,
  }));
  return line(series, { title, xLabel: "step", yLabel: "nats a token" });
}

/** The settings in which compared runs differ, a column a run. */
export function differingRows(
  { runs, config_differences }: Pick<RunComparison, "runs" | "config_differences">,
) {
  return config_differences.map(({ key, values }) => ({
    setting: key,
    ...Object.fromEntries(runs.map((name, i) => [name, values[i]])),
  }));
}
