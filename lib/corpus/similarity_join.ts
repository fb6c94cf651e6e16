/**
 * All pairs of sets with Jaccard similarity of at least a threshold: exact, without comparing all
 * pairs.
 *
 * Prefix filtering (Bayardo, Ma, Srikant 2007; Xiao et al. 2008). Let t be the threshold and the
 * elements of every set be sorted, rarest first. |A ∩ B| ≥ o := ⌈t/(1+t)·(|A|+|B|)⌉ is the same as
 * J(A, B) ≥ t. If the first |A|−o+1 elements of A and the first |B|−o+1 of B have none in common,
 * fewer than o can be in common at all. So only sets that share one of their few rarest elements are
 * candidates, and every candidate is then counted exactly: no pair is missed, none is wrong.
 *
 * @module
 */
import type { OnProgress } from "@lib/phases.ts";

/** Guards `Math.ceil` against representation error such as 0.9·10 = 9.000000000000002. */
const EPSILON = 1e-9;

/** |A ∩ B| of two ascending lists, or -1 as soon as it cannot reach `required`. */
function overlapAtLeast(a: Int32Array, b: Int32Array, required: number): number {
  let i = 0;
  let j = 0;
  let overlap = 0;
  while (i < a.length && j < b.length) {
    const x = a[i]!;
    const y = b[j]!;
    if (x === y) {
      overlap++;
      i++;
      j++;
    } else {
      if (x < y) i++;
      else j++;
      if (overlap + Math.min(a.length - i, b.length - j) < required) return -1;
    }
  }
  return overlap >= required ? overlap : -1;
}

/** What a similarity join reports and may be told. */
export interface JoinOptions {
  /** Least Jaccard similarity, in (0, 1]. */
  readonly threshold: number;
  /** Called once per pair, with indexes into the list of sets. */
  readonly onPair: (a: number, b: number, similarity: number) => void;
  /** Pairs that need not be compared (and are not reported). */
  readonly skip?: (a: number, b: number) => boolean;
  /** Called with the sets compared, of all. */
  readonly onProgress?: OnProgress | undefined;
}

/** Elements' chains of sets that have them in their prefix, the largest set first. */
class PrefixIndex {
  readonly #head: Int32Array;
  #next = new Int32Array(1 << 16);
  #set = new Int32Array(1 << 16);
  #length = 0;

  constructor(elementCount: number) {
    this.#head = new Int32Array(elementCount).fill(-1);
  }

  add(element: number, set: number): void {
    if (this.#length === this.#next.length) {
      const next = new Int32Array(this.#length * 2);
      const sets = new Int32Array(this.#length * 2);
      next.set(this.#next);
      sets.set(this.#set);
      this.#next = next;
      this.#set = sets;
    }
    this.#next[this.#length] = this.#head[element]!;
    this.#set[this.#length] = set;
    this.#head[element] = this.#length++;
  }

  /** Visit the sets of an element until `visit` returns false. */
  visit(element: number, visit: (set: number) => boolean): void {
    for (let e = this.#head[element]!; e >= 0; e = this.#next[e]!) {
      if (!visit(this.#set[e]!)) return;
    }
  }
}

/**
 * Report every pair of sets with Jaccard similarity ≥ threshold.
 *
 * @param sets Ascending lists of distinct numbers below `elementCount`, rarest first (see
 * `gramSets`). Empty sets match nothing.
 */
export function similarityJoin(
  sets: readonly Int32Array[],
  elementCount: number,
  options: JoinOptions,
): void {
  const { threshold: t, onPair, skip, onProgress } = options;
  if (!(t > 0 && t <= 1)) {
    throw new RangeError(`Cannot join: expected a threshold in (0, 1], found ${t}.`);
  }
  const order = Int32Array.from(sets.keys()).sort((a, b) =>
    sets[a]!.length - sets[b]!.length || a - b
  );
  const index = new PrefixIndex(elementCount);
  const seenBy = new Int32Array(sets.length).fill(-1);
  let done = 0;
  for (const current of order) {
    onProgress?.(done++, sets.length);
    const set = sets[current]!;
    const size = set.length;
    const least = Math.ceil(t * size - EPSILON);
    const consider = (other: number): boolean => {
      const candidate = sets[other]!;
      if (candidate.length < least) return false;
      if (seenBy[other] === current) return true;
      seenBy[other] = current;
      if (skip?.(other, current)) return true;
      const total = size + candidate.length;
      const overlap = overlapAtLeast(set, candidate, Math.ceil((t / (1 + t)) * total - EPSILON));
      if (overlap >= 0 && overlap / (total - overlap) >= t) {
        onPair(Math.min(other, current), Math.max(other, current), overlap / (total - overlap));
      }
      return true;
    };
    for (let k = 0; k < size - least + 1 && k < size; k++) index.visit(set[k]!, consider);
    const indexed = size - Math.ceil(((2 * t) / (1 + t)) * size - EPSILON) + 1;
    for (let k = 0; k < indexed && k < size; k++) index.add(set[k]!, current);
  }
  onProgress?.(done, sets.length);
}
