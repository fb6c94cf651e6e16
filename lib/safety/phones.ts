/**
 * One phonetic alphabet for both scripts. Bengali and romanised spellings of a word meet in it:
 * মরতে, morte, mortey and mrte are all found by the one pattern written in Bengali.
 *
 * A phone is one ASCII character: small letters for plain sounds, K G T D F B for the aspirates
 * (kh gh th dh f bh), N for ং and ঙ. The inherent vowel, which Bengali does not write and romanised
 * Bengali writes at will, is no phone of a Bengali text and an optional `o` of a pattern. Short and
 * long vowels, ন and ণ, শ ষ স, র ড় ঢ়, জ and য are one; চন্দ্রবিন্দু and য-ফলা are silent.
 *
 * @module
 */

const CONSONANTS: Readonly<Record<string, string>> = {
  "ক": "k",
  "খ": "K",
  "গ": "g",
  "ঘ": "G",
  "ঙ": "N",
  "চ": "c",
  "ছ": "c",
  "জ": "j",
  "ঝ": "j",
  "ঞ": "n",
  "ট": "t",
  "ঠ": "T",
  "ড": "d",
  "ঢ": "D",
  "ণ": "n",
  "ত": "t",
  "থ": "T",
  "দ": "d",
  "ধ": "D",
  "ন": "n",
  "প": "p",
  "ফ": "F",
  "ব": "b",
  "ভ": "B",
  "ম": "m",
  "য": "j",
  "র": "r",
  "ল": "l",
  "শ": "s",
  "ষ": "s",
  "স": "s",
  "হ": "h",
  "ৎ": "t",
  "ং": "N",
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
};
const SIGNS: Readonly<Record<string, string>> = {
  "া": "a",
  "ি": "i",
  "ী": "i",
  "ু": "u",
  "ূ": "u",
  "ৃ": "ri",
  "ে": "e",
  "ৈ": "oi",
  "ৗ": "ou",
};
const HASANTA = "্";
const NUKTA = "়";

/** A sound of a Bengali word, as written. */
export interface Phone {
  readonly kind: "consonant" | "vowel" | "sign" | "silent";
  /** What a text's key holds for it; empty for the silent ones. */
  readonly key: string;
  /** The letters, with nukta. */
  readonly letters: string;
  /** Joined to the consonant before it by a hasanta. */
  readonly joined: boolean;
  /** First and last letter, as indices of the input. */
  readonly from: number;
  readonly to: number;
}

/** Reads the sounds of a run of decomposed (NFKD) Bengali letters. */
export function bengaliPhones(letters: readonly string[]): Phone[] {
  const phones: Phone[] = [];
  let joined = false;
  for (let at = 0; at < letters.length; at++) {
    const from = at;
    const letter = letters[at] ?? "";
    if (letter === HASANTA) {
      joined = phones.at(-1)?.kind === "consonant";
      continue;
    }
    const nukta = letters[at + 1] === NUKTA;
    if (nukta) at++;
    const add = (kind: Phone["kind"], key: string): void => {
      phones.push({ kind, key, letters: nukta ? letter + NUKTA : letter, joined, from, to: at });
      joined = false;
    };
    const consonant = nukta ? withNukta(letter) : CONSONANTS[letter];
    if (consonant !== undefined) {
      addConsonant(phones, letter, consonant, joined, add);
    } else if (letter === "অ" && letters[at + 1] === "া") {
      at++;
      add("vowel", "a");
    } else if (letter === "ে" && (letters[at + 1] === "া" || letters[at + 1] === "ৗ")) {
      at++;
      add("sign", letters[at] === "া" ? "o" : "ou");
    } else if (VOWELS[letter] !== undefined) add("vowel", VOWELS[letter]);
    else if (SIGNS[letter] !== undefined) add("sign", SIGNS[letter]);
    else add("silent", "");
  }
  return phones;
}

function withNukta(letter: string): string {
  return letter === "য" ? "y" : "r";
}

/** য-ফলা is silent, a doubled consonant is one, ক্ষ is kh and জ্ঞ is g. */
function addConsonant(
  phones: Phone[],
  letter: string,
  key: string,
  joined: boolean,
  add: (kind: Phone["kind"], key: string) => void,
): void {
  const before = phones.at(-1);
  if (!joined || before === undefined) return add("consonant", key);
  if (letter === "য") return add("silent", "");
  if (before.key.toLowerCase() === key.toLowerCase()) {
    phones[phones.length - 1] = { ...before, key: "" };
    return add("consonant", key);
  }
  if (before.key === "k" && letter === "ষ") {
    phones[phones.length - 1] = { ...before, key: "" };
    return add("consonant", "K");
  }
  if (before.key === "j" && letter === "ঞ") {
    phones[phones.length - 1] = { ...before, key: "" };
    return add("consonant", "g");
  }
  if (before.key === "N" && letter === "গ") return add("silent", "");
  add("consonant", key);
}
