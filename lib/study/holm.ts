/** Holm's correction: many tests, one chance of being fooled. */

/**
 * Adjusted p-values (Holm 1979): the smallest is multiplied by the number of tests, the next by one
 * less, and so on, never falling below an earlier one. A test whose adjusted p is at most .05 stands
 * although the others were made too.
 *
 * @returns in the order given
 * @throws {RangeError} a value that is no probability
 *
 * @example
 * ```ts
 * import { holm } from "@lib/study/holm.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
 * ```
 */
export function holm(pValues: readonly number[]): number[] {
  const bad = pValues.find((p) => !(p >= 0 && p <= 1));
  if (bad !== undefined) {
    throw new RangeError(`Cannot correct: expected p-values from 0 to 1, found ${bad}.`);
  }
  const order = pValues.map((_, i) => i)
    .sort((a, b) => (pValues[a] ?? 1) - (pValues[b] ?? 1));
  const adjusted = pValues.map(() => 1);
  let largest = 0;
  order.forEach((at, rank) => {
    largest = Math.max(largest, Math.min(1, (pValues.length - rank) * (pValues[at] ?? 1)));
    adjusted[at] = largest;
  });
  return adjusted;
}
