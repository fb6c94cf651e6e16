/** Settings under which the notebooks run in seconds; everything else is as for a student. @module */

/** For the `settings` of a notebook's parameters cell, with the profile `tiny`. */
export const SMOKE_SETTINGS: readonly string[] = [
  "data.max_rows=320",
  "training.max_steps=6",
  "training.eval_samples=12",
  "evaluation.samples=6",
  "evaluation.bootstrap_draws=100",
  "generation.max_new_tokens=24",
];
