/** Counting n-grams the way sacreBLEU counts them. */

/** White space as Python's `str.split` knows it: not U+FEFF, but the separators U+001C to U+001F. */
const PYTHON_SPACE =
  "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACE_RUN = new RegExp(`[${PYTHON_SPACE}]+`, "u");
const SPACES = new RegExp(SPACE_RUN, "gu");
const TRAILING_SPACE = new RegExp(`[${PYTHON_SPACE}]+$`, "u");

/** Counts of n-grams of one order. */
export type NgramCounts = ReadonlyMap<string, number>;

/** Python's `str.split()`: fields between white space, none empty. */
export function splitFields(line: string): string[] {
  return line.split(SPACE_RUN).filter((field) => field !== "");
}

/** Python's `str.rstrip()`. */
export function trimEndFields(line: string): string {
  return line.replace(TRAILING_SPACE, "");
}

/** Counts of the n-grams of a list of tokens that hold no white space. */
export function wordNgrams(tokens: readonly string[], order: number): NgramCounts {
  const counts = new Map<string, number>();
  for (let i = 0; i + order <= tokens.length; i++) {
    let gram = tokens[i] ?? "";
    for (let j = 1; j < order; j++) gram += ` ${tokens[i + j]}`;
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** Counts of the code-point n-grams of a line, white space left out, for orders 1..`maxOrder`. */
export function characterNgrams(line: string, maxOrder: number): NgramCounts[] {
  const text = line.replace(SPACES, "");
  const points = Array.from(text);
  const astral = points.length !== text.length;
  return Array.from({ length: maxOrder }, (_, n) => {
    const counts = new Map<string, number>();
    for (let i = 0; i + n < points.length; i++) {
      const gram = astral ? points.slice(i, i + n + 1).join("") : text.slice(i, i + n + 1);
      counts.set(gram, (counts.get(gram) ?? 0) + 1);
    }
    return counts;
  });
}

/** How many n-grams there are. */
export function totalCount(counts: NgramCounts): number {
  let total = 0;
  for (const count of counts.values()) total += count;
  return total;
}

/** How many n-grams two texts have in common, each counted as often as it occurs in both. */
export function matchCount(a: NgramCounts, b: NgramCounts): number {
  let matches = 0;
  for (const [gram, count] of a) matches += Math.min(count, b.get(gram) ?? 0);
  return matches;
}
