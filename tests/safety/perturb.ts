/** Ways in which people disguise or misspell a text; seeded, so that a failure can be repeated. */
import type { Random } from "@lib/random.ts";

/** A change of a text that a reader sees through. */
export interface Perturbation {
  readonly name: string;
  /** Null where the text has nothing to change. */
  readonly apply: (text: string, random: Random) => string | null;
}

const GRAPHEMES = new Intl.Segmenter("bn", { granularity: "grapheme" });
const graphemes = (text: string): string[] =>
  [...GRAPHEMES.segment(text)].map(({ segment }) => segment);

const HOMOGLYPHS: Readonly<Record<string, string>> = {
  a: "а",
  c: "с",
  e: "е",
  i: "і",
  o: "о",
  p: "р",
  h: "һ",
  x: "х",
  "র": "ৰ",
  "ব": "ৱ",
  "ম": "म",
  "চ": "च",
  "ত": "त",
  "ন": "न",
};

const CONSONANTS: Readonly<Record<string, string>> = {
  "ক": "k",
  "খ": "kh",
  "গ": "g",
  "ঘ": "gh",
  "ঙ": "ng",
  "চ": "ch",
  "ছ": "ch",
  "জ": "j",
  "ঝ": "jh",
  "ঞ": "n",
  "ট": "t",
  "ঠ": "th",
  "ড": "d",
  "ঢ": "dh",
  "ণ": "n",
  "ত": "t",
  "থ": "th",
  "দ": "d",
  "ধ": "dh",
  "ন": "n",
  "প": "p",
  "ফ": "f",
  "ব": "b",
  "ভ": "bh",
  "ম": "m",
  "য": "j",
  "র": "r",
  "ল": "l",
  "শ": "sh",
  "ষ": "sh",
  "স": "s",
  "হ": "h",
  "ৎ": "t",
  "ং": "ng",
};
const VOWELS: Readonly<Record<string, string>> = {
  "অ": "o",
  "আ": "a",
  "ই": "i",
  "ঈ": "i",
  "উ": "u",
  "ঊ": "u",
  "ঋ": "ri",
  "এ": "e",
  "ঐ": "oi",
  "ও": "o",
  "ঔ": "ou",
  "া": "a",
  "ি": "i",
  "ী": "i",
  "ু": "u",
  "ূ": "u",
  "ৃ": "ri",
  "ে": "e",
  "ৈ": "oi",
  "ো": "o",
  "ৌ": "ou",
};

/** Bengali in Latin letters, roughly as people type it; the inherent vowel as o, none at the end. */
export function romanize(text: string): string {
  const letters = [...text.normalize("NFC").replaceAll("\u09df", "\u09af\u09bc")];
  let out = "";
  for (let at = 0; at < letters.length; at++) {
    const letter = letters[at] ?? "";
    const nukta = letters[at + 1] === "\u09bc";
    if (nukta) at++;
    const next = letters[at + 1] ?? "";
    const consonant = nukta ? (letter === "য" ? "y" : "r") : CONSONANTS[letter];
    if (consonant !== undefined) {
      out += consonant;
      const word = /[\p{L}\p{M}]/u.test(next);
      if (word && !/[া-ৌ্ঁঃং]/u.test(next) && VOWELS[next] === undefined) out += "o";
      if (next === "্" && letters[at + 2] === "য") at += 2;
      else if (next === "্") at++;
    } else out += VOWELS[letter] ?? (/[ঁঃ়্]/u.test(letter) ? "" : letter);
  }
  return out;
}

/** Words cut into letters by something between them, one word in two. */
function spaced(text: string, between: string, random: Random): string {
  return text.split(" ").map((word) => random() < 0.5 ? graphemes(word).join(between) : word).join(
    " ",
  );
}

const each = (text: string, share: number, random: Random, change: (one: string) => string) =>
  graphemes(text).map((one) => random() < share ? change(one) : one).join("");

export const PERTURBATIONS: readonly Perturbation[] = [
  { name: "letters spaced", apply: (text) => graphemes(text.replaceAll(" ", "  ")).join(" ") },
  { name: "some words spaced", apply: (text, random) => spaced(text, " ", random) },
  { name: "dots between", apply: (text, random) => spaced(text, ".", random) },
  { name: "dashes between", apply: (text, random) => spaced(text, "-", random) },
  { name: "words joined", apply: (text) => text.replaceAll(" ", "") },
  {
    name: "zero width",
    apply: (text, random) =>
      each(
        text,
        0.4,
        random,
        (one) => one + ["\u200b", "\u200c", "\u200d", "\u2060"][Math.floor(random() * 4)],
      ),
  },
  {
    name: "soft hyphens",
    apply: (text, random) => each(text, 0.4, random, (one) => `${one}\u00ad`),
  },
  {
    name: "homoglyphs",
    apply: (text, random) =>
      [...text].map((char) => random() < 0.6 ? HOMOGLYPHS[char] ?? char : char).join(""),
  },
  {
    name: "stretched letters",
    apply: (text, random) =>
      [...text].map((char) => /[\p{L}া-ৌ]/u.test(char) && random() < 0.15 ? char.repeat(4) : char)
        .join(""),
  },
  { name: "romanised", apply: (text) => /[\u0980-\u09ff]/u.test(text) ? romanize(text) : null },
  { name: "capitals", apply: (text) => /[a-z]/.test(text) ? text.toUpperCase() : null },
  {
    name: "full width",
    apply: (text) =>
      /[a-z]/.test(text)
        ? text.replace(/[a-z]/g, (char) => String.fromCharCode(char.charCodeAt(0) + 0xfee0))
        : null,
  },
  { name: "no punctuation", apply: (text) => text.replace(/[।?!,.]/gu, " ") },
  { name: "much punctuation", apply: (text) => `...${text}!!! 😭😭` },
  { name: "emoji between words", apply: (text) => text.replaceAll(" ", " 😭 ") },
  { name: "decomposed", apply: (text) => text.normalize("NFD") },
  { name: "no chandrabindu", apply: (text) => /ঁ/u.test(text) ? text.replaceAll("ঁ", "") : null },
  {
    name: "long for short",
    apply: (text) => text.replaceAll("ি", "ী").replaceAll("ণ", "ন").replaceAll("ু", "ূ"),
  },
  {
    name: "sibilants mixed",
    apply: (text) => text.replace(/[শষস]/gu, (char) => char === "স" ? "শ" : "স"),
  },
];
