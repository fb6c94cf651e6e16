/**
 * What the classifier sees of a text: hashed runs of sounds and pairs of words.
 *
 * @module
 */

/** Number of hashed features; a power of two. */
export const FEATURES = 1 << 15;

/** Shortest and longest run of sounds. */
const RUNS = [2, 5] as const;

/** FNV-1a over UTF-16 units, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  }
  return (value ^ (value >>> 15)) & (FEATURES - 1);
}

/**
 * The features of a match key, each once, in no order that matters: runs of 2 to 5 sounds (spaces
 * count) and pairs of neighbouring words.
 */
export function featuresOf(key: string): number[] {
  const plain = ` ${key.replace(/[,._] /g, "").trim()} `;
  const found = new Set<number>();
  for (let length = RUNS[0]; length <= RUNS[1]; length++) {
    for (let at = 0; at + length <= plain.length; at++) {
      found.add(hash(plain.slice(at, at + length)));
    }
  }
  const words = plain.trim().split(" ");
  for (let at = 1; at < words.length; at++) found.add(hash(`${words[at - 1]}|${words[at]}`));
  return [...found];
}
