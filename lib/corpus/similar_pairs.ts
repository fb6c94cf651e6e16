/**
 * Pairs of texts that resemble each other, for looking at: where does a copy begin?
 *
 * @module
 */
import { indexesByKey } from "./dedupe.ts";
import { gramSets } from "./grams.ts";
import { similarityJoin } from "./similarity_join.ts";

/** Two different texts and their likeness. */
export interface SimilarPair {
  readonly a: string;
  readonly b: string;
  /** Jaccard similarity of the letter 5-grams of the matching keys. */
  readonly similarity: number;
}

/**
 * All pairs of texts with Jaccard similarity ≥ threshold, the most similar first. Texts with equal
 * matching keys count once.
 *
 * @param threshold in (0, 1]; time grows quickly below 0.5
 * @example
 * ```ts
 * import { similarPairs } from "@lib/corpus/similar_pairs.ts";
 * import { assertEquals } from "@std/assert";
 * const texts = ["আজ মন খুব ভালো আছে।", "আজ মন খুব ভালো আছে!", "আজ মনটা খুব ভালো আছে।"];
 * assertEquals(similarPairs(texts, 0.5).map(({ b }) => b), ["আজ মনটা খুব ভালো আছে।"]);
 * ```
 */
export function similarPairs(texts: readonly string[], threshold: number): SimilarPair[] {
  const byKey = indexesByKey(texts);
  const firsts = [...byKey.values()].map(([first = 0]) => texts[first] ?? "");
  const { sets, gramCount } = gramSets([...byKey.keys()]);
  const pairs: SimilarPair[] = [];
  similarityJoin(sets, gramCount, {
    threshold,
    onPair: (i, j, similarity) =>
      pairs.push({ a: firsts[i] ?? "", b: firsts[j] ?? "", similarity }),
  });
  return pairs.sort((x, y) => y.similarity - x.similarity);
}
