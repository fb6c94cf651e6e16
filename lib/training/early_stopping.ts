/**
 * Early stopping: training ends when validation has not improved for a while, and the best adapter
 * is the one that is kept.
 *
 * @module
 */

/** What validation has shown so far. */
export interface Progress {
  /** The lowest loss and its step; null before the first validation. */
  readonly best: { readonly step: number; readonly loss: number } | null;
  /** Validations since the best one. */
  readonly waited: number;
  /** Step of the last one; −1 before the first. */
  readonly last: number;
}

/** Before the first validation. */
export const NO_PROGRESS: Progress = { best: null, waited: 0, last: -1 };

/**
 * Takes one more validation into account.
 *
 * @example
 * ```ts
 * import { afterValidation, NO_PROGRESS } from "@lib/training/early_stopping.ts";
 * import { assertEquals } from "@std/assert";
 * const losses = [5, 3, 4, 3];
 * const end = losses.reduce((state, loss, step) => afterValidation(state, step, loss), NO_PROGRESS);
 * assertEquals(end, { best: { step: 1, loss: 3 }, waited: 2, last: 3 });
 * ```
 */
export function afterValidation(progress: Progress, step: number, loss: number): Progress {
  const { best, waited } = progress;
  return best === null || loss < best.loss
    ? { best: { step, loss }, waited: 0, last: step }
    : { best, waited: waited + 1, last: step };
}

/** Whether training should end. @param patience validations to wait for a better one; null: for ever */
export function isExhausted({ waited }: Progress, patience: number | null): boolean {
  return patience !== null && waited >= patience;
}
