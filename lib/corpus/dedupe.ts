/**
 * Exact and near-duplicates among texts.
 *
 * @module
 */
import { type OnProgress, partOf } from "@lib/phases.ts";
import { gramSets } from "./grams.ts";
import { similarityJoin } from "./similarity_join.ts";
import { matchKey } from "./text_key.ts";

/** Jaccard similarity of letter 5-grams from which two texts count as near-duplicates. */
export const NEAR_DUPLICATE_THRESHOLD = 0.9;

/** That a text repeats an earlier one (indexes into the list of texts). */
export interface Duplicate {
  readonly index: number;
  readonly of: number;
  readonly kind: "exact" | "near";
  /** Jaccard similarity of the letter 5-grams; 1 for an exact duplicate. */
  readonly similarity: number;
}

/** Options of the duplicate search. */
export interface DuplicateOptions {
  /**
   * Least Jaccard similarity of a near-duplicate.
   * @default 0.9
   */
  readonly threshold?: number;
  /** Called with the distinct texts done, of all; each is cut into grams, then compared. */
  readonly onProgress?: OnProgress | undefined;
}

/** Grams cost about twice what comparing costs. */
const GRAM_SHARE = 0.65;

/** Indexes of the texts by matching key, in order of first appearance. */
export function indexesByKey(texts: readonly string[]): ReadonlyMap<string, readonly number[]> {
  const byKey = new Map<string, number[]>();
  texts.forEach((text, i) => {
    const key = matchKey(text);
    const list = byKey.get(key);
    if (list === undefined) byKey.set(key, [i]);
    else list.push(i);
  });
  return byKey;
}

/**
 * The texts to drop so that no two left are duplicates: in order, each text that repeats an earlier
 * **kept** one, exactly (by matching key) or nearly.
 *
 * @example
 * ```ts
 * import { findDuplicates } from "@lib/corpus/dedupe.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(findDuplicates(["মন ভালো নেই।", "আজ ছুটি।", "মন ভালো নেই!"]), [
 *   { index: 2, of: 0, kind: "exact", similarity: 1 },
 * ]);
 * ```
 */
export function findDuplicates(
  texts: readonly string[],
  options: DuplicateOptions = {},
): Duplicate[] {
  const { threshold = NEAR_DUPLICATE_THRESHOLD, onProgress } = options;
  const byKey = indexesByKey(texts);
  const keys = [...byKey.keys()];
  const members = [...byKey.values()];
  const earlier = new Map<number, { other: number; similarity: number }[]>();
  const { sets, gramCount } = gramSets(keys, partOf(onProgress, 0, GRAM_SHARE));
  similarityJoin(sets, gramCount, {
    threshold,
    onProgress: partOf(onProgress, GRAM_SHARE, 1),
    onPair: (other, later, similarity) => {
      const list = earlier.get(later);
      if (list === undefined) earlier.set(later, [{ other, similarity }]);
      else list.push({ other, similarity });
    },
  });
  const duplicates: Duplicate[] = [];
  const dropped = new Set<number>();
  members.forEach((indexes, key) => {
    const first = indexes[0]!;
    const near = earlier.get(key)?.filter(({ other }) => !dropped.has(other))
      .sort((a, b) => b.similarity - a.similarity || a.other - b.other)[0];
    if (near === undefined) {
      for (const index of indexes.slice(1)) {
        duplicates.push({ index, of: first, kind: "exact", similarity: 1 });
      }
      return;
    }
    dropped.add(key);
    const of = members[near.other]![0]!;
    for (const index of indexes) {
      duplicates.push({ index, of, kind: "near", similarity: near.similarity });
    }
  });
  return duplicates.sort((a, b) => a.index - b.index);
}

/**
 * Report pairs of texts that are equal by matching key or near-duplicates, enough of them that
 * linking every reported pair links all such texts.
 *
 * @param link Called with two indexes.
 * @param linked Whether two indexes are linked already; such pairs need no comparison.
 */
export function linkDuplicates(
  texts: readonly string[],
  link: (a: number, b: number) => void,
  linked: (a: number, b: number) => boolean,
  options: DuplicateOptions = {},
): void {
  const { threshold = NEAR_DUPLICATE_THRESHOLD, onProgress } = options;
  const byKey = indexesByKey(texts);
  const firsts: number[] = [];
  for (const indexes of byKey.values()) {
    firsts.push(indexes[0]!);
    for (const index of indexes.slice(1)) link(indexes[0]!, index);
  }
  const { sets, gramCount } = gramSets([...byKey.keys()], partOf(onProgress, 0, GRAM_SHARE));
  similarityJoin(sets, gramCount, {
    threshold,
    onProgress: partOf(onProgress, GRAM_SHARE, 1),
    onPair: (a, b) => link(firsts[a]!, firsts[b]!),
    skip: (a, b) => linked(firsts[a]!, firsts[b]!),
  });
}
