/**
 * Groups: the rows that must stay on one side of the split because one would give away another.
 *
 * @module
 */
import { type OnPhase, phaseOf } from "@lib/phases.ts";
import { type DuplicateOptions, linkDuplicates } from "./dedupe.ts";
import type { CleanRecord, SplitRecord } from "./records.ts";
import { UnionFind } from "./union_find.ts";

/** Options of {@linkcode groupRecords}. */
export interface GroupOptions extends Omit<DuplicateOptions, "onProgress"> {
  readonly onPhase?: OnPhase | undefined;
}

/**
 * Give each record its group: the transitive closure over "same run of contiguous same-topic rows",
 * "equal or nearly equal question" and "equal or nearly equal answer". A group's number is its
 * smallest row.
 *
 * @example
 * ```ts
 * import { groupRecords } from "@lib/corpus/groups.ts";
 * import { assertEquals } from "@std/assert";
 * const record = { run: 1, topic: "", title: "", answer: "বলুন, শুনছি।" };
 * const groups = groupRecords([
 *   { ...record, row: 1, question: "আজ মন ভালো নেই।" },
 *   { ...record, row: 2, run: 2, question: "কাল পরীক্ষা, ভয় লাগছে।" },
 * ]).map(({ group }) => group);
 * assertEquals(groups, [1, 1]); // the same answer
 * ```
 */
export function groupRecords(
  records: readonly CleanRecord[],
  options: GroupOptions = {},
): SplitRecord[] {
  const sets = new UnionFind(records.length);
  const link = (a: number, b: number): void => void sets.union(a, b);
  const linked = (a: number, b: number): boolean => sets.find(a) === sets.find(b);
  const firstOfRun = new Map<number, number>();
  records.forEach(({ run }, i) => {
    const first = firstOfRun.get(run);
    if (first === undefined) firstOfRun.set(run, i);
    else link(first, i);
  });
  const { onPhase, ...rest } = options;
  for (const field of ["question", "answer"] as const) {
    const onProgress = phaseOf(onPhase, `grouping by ${field}`);
    linkDuplicates(records.map((one) => one[field]), link, linked, { ...rest, onProgress });
  }
  const smallest = new Map<number, number>();
  records.forEach(({ row }, i) => {
    const root = sets.find(i);
    smallest.set(root, Math.min(row, smallest.get(root) ?? Infinity));
  });
  return records.map((record, i) => ({ ...record, group: smallest.get(sets.find(i))! }));
}
