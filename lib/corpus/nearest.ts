/**
 * The most similar text in a pool, by letter 5-grams: what a pure memory would look up.
 *
 * @module
 */
import { gramSets } from "./grams.ts";
import { matchKey } from "./text_key.ts";

/** The most similar text of the pool. */
export interface Neighbour {
  /** Place in the pool; the first of equally similar ones. */
  readonly index: number;
  /** Jaccard similarity of the letter 5-grams of the matching keys, 0..1. */
  readonly similarity: number;
}

/** Per gram the texts of the pool that have it. */
function postings(sets: readonly Int32Array[], gramCount: number): Int32Array[] {
  const lengths = new Int32Array(gramCount);
  for (const set of sets) for (const gram of set) lengths[gram]!++;
  const lists = Array.from(lengths, (length) => new Int32Array(length));
  const filled = new Int32Array(gramCount);
  sets.forEach((set, text) => {
    for (const gram of set) lists[gram]![filled[gram]!++] = text;
  });
  return lists;
}

/**
 * For every query the most similar text of the pool.
 *
 * @throws {RangeError} when the pool is empty
 * @example
 * ```ts
 * import { nearestNeighbours } from "@lib/corpus/nearest.ts";
 * import { assertEquals } from "@std/assert";
 * const pool = ["আজ ছুটি।", "মন ভালো নেই।"];
 * assertEquals(nearestNeighbours(["মন ভালো নেই!"], pool), [{ index: 1, similarity: 1 }]);
 * ```
 */
export function nearestNeighbours(
  queries: readonly string[],
  pool: readonly string[],
): Neighbour[] {
  if (pool.length === 0) {
    throw new RangeError("Cannot find neighbours: expected texts in the pool, found none.");
  }
  const { sets, gramCount } = gramSets([...pool, ...queries].map(matchKey));
  const poolSets = sets.slice(0, pool.length);
  const textsWith = postings(poolSets, gramCount);
  const common = new Int32Array(pool.length);
  return sets.slice(pool.length).map((set) => {
    common.fill(0);
    for (const gram of set) for (const text of textsWith[gram]!) common[text]!++;
    let best: Neighbour = { index: 0, similarity: 0 };
    for (let index = 0; index < pool.length; index++) {
      const both = common[index]!;
      const similarity = both / (set.length + poolSets[index]!.length - both);
      if (similarity > best.similarity) best = { index, similarity };
    }
    return best;
  });
}
