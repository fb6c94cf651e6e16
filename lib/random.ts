/**
 * Seeded randomness: the same seed gives the same numbers on every machine.
 *
 * @module
 */

/** A source of uniform numbers in [0, 1). */
export type Random = () => number;

/**
 * The generator sfc32 (Chris Doty-Humphrey's Small Fast Chaotic, 128 bits of state), seeded by one
 * integer.
 *
 * @example
 * ```ts
 * import { seededRandom } from "@lib/random.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(seededRandom(42)(), seededRandom(42)());
 * ```
 */
export function seededRandom(seed: number): Random {
  if (!Number.isSafeInteger(seed)) {
    throw new RangeError(`Cannot seed: expected a whole number, found ${seed}.`);
  }
  let a = seed | 0;
  let b = Math.floor(seed / 2 ** 32) | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum | 0;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 15; i++) next();
  return next;
}

/** A whole number in [0, limit). */
export function randomInt(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

/** One element of a non-empty list. */
export function pick<T>(random: Random, list: readonly T[]): T {
  const item = list[randomInt(random, list.length)];
  if (item === undefined) {
    throw new RangeError("Cannot pick: expected a non-empty list, found none.");
  }
  return item;
}

/** A shuffled copy (Fisher–Yates). */
export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = randomInt(random, i + 1);
    [copy[i], copy[j]] = [copy[j]!, copy[i]!];
  }
  return copy;
}
