/** Counting n-grams the way sacreBLEU counts them. */

/** White space as Python's `str.split` knows it: not U+FEFF, but the separators U+001C to U+001F. */
const PYTHON_SPACE =
  "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACE_RUN = new RegExp(`[${PYTHON_SPACE}]+`, "u");
const SPACES = new RegExp(SPACE_RUN, "gu");
const TRAILING_SPACE = new RegExp(`[${PYTHON_SPACE}]+$`, "u");

/** Python's `str.split()`: fields between white space, none empty. */
export function splitFields(line: string): string[] {
  return line.split(SPACE_RUN).filter((field) => field !== "");
}

/** Python's `str.rstrip()`. */
export function trimEndFields(line: string): string {
  return line.replace(TRAILING_SPACE, "");
}

/** The code points of a line, white space left out. */
export function codePoints(line: string): string[] {
  return Array.from(line.replace(SPACES, ""));
}

/** Number of n-grams of one order in a text of so many tokens. */
export function ngramTotal(tokens: number, order: number): number {
  return Math.max(0, tokens - order + 1);
}

/**
 * How many n-grams two texts have in common for orders 1..`maxOrder`, each counted as often as it
 * occurs in both.
 *
 * Every n-gram of the reference gets a number, found from the number of its first n − 1 tokens and
 * its last token; a hypothesis n-gram whose beginning is unknown cannot match and is not looked up.
 */
export function ngramMatches(
  hypothesis: readonly string[],
  reference: readonly string[],
  maxOrder: number,
): number[] {
  const numbers = new Map<string, number>();
  const ref = reference.map((token) => {
    const number = numbers.get(token) ?? numbers.size;
    numbers.set(token, number);
    return number;
  });
  const hyp = hypothesis.map((token) => numbers.get(token) ?? -1);
  const vocabulary = numbers.size;
  let refGrams = ref;
  let hypGrams = hyp;
  const matches = [countCommon(hypGrams, refGrams)];
  for (let order = 2; order <= maxOrder; order++) {
    const known = new Map<number, number>();
    refGrams = ref.slice(order - 1).map((last, i) => {
      const key = (refGrams[i] ?? 0) * vocabulary + last;
      const number = known.get(key) ?? known.size;
      known.set(key, number);
      return number;
    });
    hypGrams = hyp.slice(order - 1).map((last, i) => {
      const first = hypGrams[i] ?? -1;
      return first < 0 || last < 0 ? -1 : known.get(first * vocabulary + last) ?? -1;
    });
    matches.push(countCommon(hypGrams, refGrams));
  }
  return matches;
}

/** Common elements of two lists of numbers, −1 standing for none. */
function countCommon(a: readonly number[], b: readonly number[]): number {
  const left = new Int32Array(b.length);
  for (const number of b) left[number] = (left[number] ?? 0) + 1;
  let common = 0;
  for (const number of a) {
    const count = number < 0 ? 0 : left[number] ?? 0;
    if (count === 0) continue;
    left[number] = count - 1;
    common++;
  }
  return common;
}
