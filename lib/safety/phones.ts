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

/** What may stand for one sound in a text's key. */
export interface Piece {
  /** Keys, any of which will do. */
  readonly options: readonly string[];
  readonly optional: boolean;
}

const piece = (...options: string[]): Piece => ({ options, optional: false });
const maybe = (...options: string[]): Piece => ({ options, optional: true });

/** What a Bengali word of a pattern accepts, sound by sound. */
export function bengaliPieces(word: string): Piece[] {
  const phones = bengaliPhones([...word.normalize("NFKD")]);
  return phones.flatMap((phone, at) => {
    const next = phones[at + 1];
    const last = !phones.slice(at + 1).some((later) => later.key !== "");
    switch (phone.kind) {
      case "silent":
        return silentPiece(phone, next);
      case "vowel":
      case "sign":
        return vowelPiece(phone, phones[at - 1], last);
      case "consonant": {
        const accepted = phone.key === "" ? [] : consonantPiece(phone, phones[at - 1], last);
        const open = next === undefined || (next.kind !== "sign" && !next.joined);
        return open ? [...accepted, last ? maybe("o", "u") : maybe("o")] : accepted;
      }
    }
  });
}

function silentPiece(phone: Phone, next: Phone | undefined): Piece[] {
  if (phone.letters === "ঁ") return [maybe("n")];
  if (phone.letters === "ঃ") return [maybe("h", "k")];
  if (phone.letters === "য") return [next?.key === "a" ? maybe("y", "i", "e") : maybe("y", "i")];
  return [];
}

function vowelPiece(phone: Phone, before: Phone | undefined, last: boolean): Piece[] {
  const afterYa = before?.letters === "য" && before.kind === "silent";
  switch (phone.key) {
    case "a":
      return afterYa ? [maybe("a", "e")] : [piece("a")];
    case "i":
      return [
        phone.kind === "vowel" && before !== undefined && before.kind !== "consonant"
          ? piece("i", "y", "e")
          : piece("i"),
      ];
    case "u":
      return [last ? piece("u") : piece("u", "o")];
    case "e":
      return [last ? piece("e", "ey") : piece("e", "i")];
    case "o":
      return phone.letters === "অ"
        ? [before === undefined ? piece("o", "a") : maybe("o")]
        : [last ? maybe("o", "u") : piece("o", "u")];
    default:
      return [piece(phone.key)];
  }
}

function consonantPiece(phone: Phone, before: Phone | undefined, last: boolean): Piece[] {
  if (phone.joined && before !== undefined) {
    if (phone.letters === "ব") return [maybe("b", "o")];
    if (phone.letters === "ম" && /[tdsks]/i.test(before.key)) return [maybe("m", "n")];
  }
  switch (phone.key) {
    case "c":
      return [phone.letters === "ছ" ? piece("c", "s") : piece("c")];
    case "y":
      return [last ? piece("y", "i", "e") : maybe("y", "i", "e", "o")];
    case "N":
      return [piece("N", "Ng", "n")];
    case "F":
      return [piece("F")];
    case "g":
      return phone.letters === "ঞ" ? [piece("g", "gy", "jn")] : [piece("g")];
    default:
      return [
        /[A-Z]/.test(phone.key) ? piece(phone.key, phone.key.toLowerCase()) : piece(phone.key),
      ];
  }
}
