/** The nearest known name to a misspelt one. */

/**
 * @param name what was written
 * @param known what would be accepted
 * @returns the known name at the smallest edit distance, or null when none is close
 *
 * @example
 * ```ts
 * import { closest } from "@lib/closest.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(closest("lora.dropuot", ["lora.r", "lora.dropout"]), "lora.dropout");
 * assertEquals(closest("banana", ["lora.r"]), null);
 * ```
 */
export function closest(name: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = Infinity;
  const tail = name.slice(name.lastIndexOf(".") + 1);
  for (const candidate of known) {
    const candidateTail = candidate.slice(candidate.lastIndexOf(".") + 1);
    // A key put into the wrong section is as near as a misspelt one.
    const distance = Math.min(
      editDistance(name, candidate),
      editDistance(tail, candidateTail) + 0.5,
    );
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return bestDistance <= Math.max(2, tail.length * 0.34) ? best : null;
}

/** Levenshtein distance in UTF-16 units. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
