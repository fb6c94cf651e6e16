/**
 * Disjoint sets over the integers 0..size-1, with path halving and union by size.
 *
 * @example
 * ```ts
 * import { UnionFind } from "@lib/corpus/union_find.ts";
 * import { assert } from "@std/assert";
 * const sets = new UnionFind(3);
 * sets.union(0, 2);
 * assert(sets.find(0) === sets.find(2) && sets.find(0) !== sets.find(1));
 * ```
 */
export class UnionFind {
  readonly #parent: Int32Array;
  readonly #size: Int32Array;

  constructor(size: number) {
    this.#parent = Int32Array.from({ length: size }, (_, i) => i);
    this.#size = new Int32Array(size).fill(1);
  }

  /** The representative of an element's set. */
  find(element: number): number {
    const parent = this.#parent;
    let node = element;
    while (parent[node] !== node) {
      parent[node] = parent[parent[node]!]!;
      node = parent[node]!;
    }
    return node;
  }

  /** Join the sets of two elements; `true` when they were apart. */
  union(a: number, b: number): boolean {
    let big = this.find(a);
    let small = this.find(b);
    if (big === small) return false;
    if (this.#size[big]! < this.#size[small]!) [big, small] = [small, big];
    this.#parent[small] = big;
    this.#size[big] = this.#size[big]! + this.#size[small]!;
    return true;
  }
}
