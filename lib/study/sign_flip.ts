/** A paired test without assumptions about the shape of ratings. */
import { seededRandom } from "@lib/random.ts";

/** How the test is made. */
export interface SignFlipOptions {
  /** Random flips. @default {10000} */
  readonly draws?: number;
  /** @default {12345} */
  readonly seed?: number;
}

/** Differences that are equal but for rounding count as equal. */
const TOLERANCE = 1e-12;

/**
 * Two-sided test of "no difference": each difference could as well have had the other sign.
 *
 * p = (flips whose mean is at least as far from zero + 1) / (draws + 1), so that it is never zero
 * (Phipson and Smyth 2010).
 *
 * @param differences one an independent question
 * @throws {RangeError} no differences
 *
 * @example
 * ```ts
 * import { signFlipTest } from "@lib/study/sign_flip.ts";
 * import { assert, assertEquals } from "@std/assert";
 * assertEquals(signFlipTest([0, 0, 0]), 1);
 * assert(signFlipTest(new Array(12).fill(0.5)) < 0.01);
 * ```
 */
export function signFlipTest(
  differences: readonly number[],
  { draws = 10_000, seed = 12_345 }: SignFlipOptions = {},
): number {
  if (differences.length === 0) {
    throw new RangeError("Cannot test: expected at least one difference, found none.");
  }
  const random = seededRandom(seed);
  const observed = Math.abs(differences.reduce((sum, one) => sum + one, 0));
  let beyond = 0;
  for (let draw = 0; draw < draws; draw++) {
    let sum = 0;
    for (const one of differences) sum += random() < 0.5 ? one : -one;
    if (Math.abs(sum) >= observed - TOLERANCE) beyond++;
  }
  return (beyond + 1) / (draws + 1);
}
