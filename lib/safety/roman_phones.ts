/**
 * The sounds of Latin letters, in the phonetic alphabet of `phones.ts`.
 *
 * @module
 */

const DIGRAPHS: Readonly<Record<string, string>> = {
  chh: "c",
  ksh: "K",
  vh: "B",
  kh: "K",
  gh: "G",
  ch: "c",
  jh: "j",
  th: "T",
  dh: "D",
  ph: "F",
  bh: "B",
  sh: "s",
  ng: "N",
  ck: "k",
  aa: "a",
  ee: "i",
  oo: "u",
};
const SINGLE: Readonly<Record<string, string>> = {
  f: "F",
  q: "k",
  v: "B",
  w: "o",
  x: "ks",
  z: "j",
};

/** One or more Latin letters read as one sound. */
export interface RomanPhone {
  readonly key: string;
  readonly from: number;
  readonly to: number;
}

/** Reads the sounds of a Latin word in lower case; doubled letters count once. */
export function romanPhones(word: string): RomanPhone[] {
  const phones: RomanPhone[] = [];
  for (let at = 0; at < word.length;) {
    const found = [3, 2].map((length) => word.slice(at, at + length))
      .find((part) => DIGRAPHS[part] !== undefined && !isStretched(word, at, part));
    const letters = found ?? word.charAt(at);
    const key = DIGRAPHS[letters] ?? SINGLE[letters] ?? letters;
    const before = phones.at(-1);
    if (before !== undefined && sameSound(before.key, key)) {
      phones[phones.length - 1] = {
        key: wider(before.key, key),
        from: before.from,
        to: at + letters.length,
      };
    } else phones.push({ key, from: at, to: at + letters.length });
    at += letters.length;
  }
  return phones;
}

/** "eee" is a long cry of one letter, "ee" is a long i. */
function isStretched(word: string, at: number, part: string): boolean {
  return part.length === 2 && part[0] === part[1] &&
    (word[at + 2] === part[0] || word[at - 1] === part[0]);
}

function sameSound(a: string, b: string): boolean {
  return a === b || (/[kgtdbpc]/i.test(a) && a.toLowerCase() === b.toLowerCase());
}

function wider(a: string, b: string): string {
  return /[A-Z]/.test(a) ? a : b;
}
