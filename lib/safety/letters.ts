/**
 * A text as plain letters, each with its place in the original: invisible characters gone, letters
 * that only look like Bengali or Latin ones replaced by what they look like.
 *
 * @module
 */

/** One letter, sign or digit, or a separator, after folding. */
export interface Letter {
  /** One code point, decomposed (NFKD) and in lower case. */
  readonly char: string;
  readonly script: "bengali" | "latin" | "digit" | "space" | "mark";
  /** UTF-16 offsets in the original. */
  readonly start: number;
  readonly end: number;
}

/** Letters that look like Latin ones: Cyrillic, Greek, Lisu, and Latin with a stroke or without a dot. */
const LOOKALIKES: Readonly<Record<string, string>> = {
  ...pairs("авсԁеіјкӏмнорԛгѕтуԝхһ", "abcdeijklmhopqrstywxh"),
  ...pairs("бзилпнфчшэ", "bzilpnfcse"),
  ...pairs("αβγδεζηικλμνορστυφχω", "abgdeznikluvopstufxw"),
  ...pairs("ꓐꓑꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓮꓰꓲꓳꓴꓪꓫꓬ", "bpdtgkjczfmnlsrvhaeiouwxy"),
  ...pairs("ıłøđħŧɑɡɩοƅƽ", "iloghtagioos"),
};

/** Letters that look like Bengali ones, or stand for them in a neighbouring script. */
const BENGALI_LOOKALIKES: Readonly<Record<string, string>> = { "ৰ": "র", "ৱ": "র", "ৼ": "ঁ" };

/** Symbols written in place of Latin letters. */
const SYMBOL_LETTERS: Readonly<Record<string, string>> = {
  "@": "a",
  "$": "s",
  "!": "i",
  "|": "i",
  "€": "e",
  "£": "l",
};
const DIGIT_LETTERS: Readonly<Record<string, string>> = {
  "0": "o",
  "1": "i",
  "3": "e",
  "4": "a",
  "5": "s",
  "7": "t",
  "8": "b",
};

function pairs(from: string, to: string): Record<string, string> {
  const target = [...to];
  return Object.fromEntries([...from].map((char, at) => [char, target[at] ?? char]));
}

/** Shows nothing: format characters, variation selectors, fillers, the blank Braille cell. */
const INVISIBLE = /[\p{Cf}\p{Variation_Selector}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]/u;

type Folded = readonly (readonly [char: string, script: Letter["script"]])[];
const folded = new Map<string, Folded>();

function scriptOf(char: string): Letter["script"] {
  if (/[ঀ-৥ৰৱৼ]/u.test(char) && /[\p{L}\p{M}]/u.test(char)) return "bengali";
  if (/[a-z]/.test(char)) return "latin";
  if (/[0-9]/.test(char)) return "digit";
  return /\s/u.test(char) ? "space" : "mark";
}

/** What one code point of a text becomes. */
function foldChar(original: string): Folded {
  if (INVISIBLE.test(original)) return [];
  const code = original.codePointAt(0) ?? 0;
  const circled = code >= 0x1f1e6 && code <= 0x1f1ff
    ? code - 0x1f1e6
    : code >= 0x1f150 && code <= 0x1f189
    ? (code - 0x1f150) % 0x20
    : -1;
  if (circled >= 0 && circled < 26) return [[String.fromCharCode(97 + circled), "latin"]];
  const out: (readonly [string, Letter["script"]])[] = [];
  for (const raw of original.normalize("NFKD").toLowerCase()) {
    const at = raw.codePointAt(0) ?? 0;
    let char = LOOKALIKES[raw] ?? BENGALI_LOOKALIKES[raw] ?? raw;
    if (at >= 0x0901 && at <= 0x0963) char = String.fromCodePoint(at === 0x935 ? 0x9ac : at + 0x80);
    if (/\p{Nd}/u.test(char) && !/[0-9]/.test(char)) char = String(digitValue(char));
    const script = scriptOf(char);
    if (script === "mark" && /\p{M}/u.test(char)) continue;
    out.push([char, script]);
  }
  return out;
}

/** Value of a decimal digit of any script: the ten stand in a row, from a multiple of two on. */
function digitValue(char: string): number {
  const code = char.codePointAt(0) ?? 0;
  let value = 0;
  while (value < 9 && /\p{Nd}/u.test(String.fromCodePoint(code - value - 1))) value++;
  return code >= 0x1d7ce && code <= 0x1d7ff ? (code - 0x1d7ce) % 10 : value;
}

/** The letters of a text, before digits and symbols are read as letters. */
function plainLetters(text: string): Letter[] {
  const letters: Letter[] = [];
  let start = 0;
  for (const original of text) {
    const end = start + original.length;
    let found = folded.get(original);
    if (found === undefined) {
      found = foldChar(original);
      if (folded.size < 20_000) folded.set(original, found);
    }
    for (const [char, script] of found) letters.push({ char, script, start, end });
    start = end;
  }
  return letters;
}

/** Words that stand after a number and make it a number, not a letter: 10mg, 14yr, 2nd. */
const UNITS = /^(?:mg|ml|gm?|kg|km|am|pm|st|nd|rd|th|x|yrs?|years?|bo?cho?r|ta|ti|jo?n|din|mash?)$/;

/**
 * The letters of a text. Digits and symbols inside a Latin word count as the letters they stand for
 * ("su1cide", "m0rt3", "@tmohotta").
 */
export function lettersOf(text: string): Letter[] {
  const letters = plainLetters(text);
  const isLatin = (at: number): boolean => letters[at]?.script === "latin";
  const isBengali = (at: number): boolean => letters[at]?.script === "bengali";
  for (let at = 0; at < letters.length; at++) {
    const letter = letters[at];
    if (letter === undefined || (letter.script !== "digit" && letter.script !== "mark")) continue;
    if (letter.script === "digit" && isBengali(at - 1) && isBengali(at + 1)) {
      letters.splice(at--, 1);
      continue;
    }
    const table = letter.script === "digit" ? DIGIT_LETTERS : SYMBOL_LETTERS;
    const char = table[letter.char];
    if (char === undefined) continue;
    const bar = letter.char === "|" &&
      (letters[at + 1]?.char === "|" || letters[at - 1]?.char === "l");
    if (bar && isLatin(at - 1)) {
      letters[at] = { ...letter, char: "l", script: "latin" };
      continue;
    }
    const inside = isLatin(at - 1) && isLatin(at + 1);
    const first = startsWord(letters, at) && isLatin(at + 1) && isLatin(at + 2) &&
      letter.char !== "!" &&
      !UNITS.test(latinRun(letters, at + 1));
    const last = letter.script === "digit" && isLatin(at - 1) && isLatin(at - 2) &&
      isLatin(at - 3) && startsWord(letters, at + 1);
    if (inside || first || last) letters[at] = { ...letter, char, script: "latin" };
  }
  return letters;
}

/** Whether no letter or digit stands just before or at this place. */
function startsWord(letters: readonly Letter[], at: number): boolean {
  const before = letters[at - 1]?.script ?? "space";
  const here = letters[at]?.script ?? "space";
  return before === "space" || before === "mark" || here === "space" || here === "mark" &&
      !isSymbolLetter(letters[at]);
}

function isSymbolLetter(letter: Letter | undefined): boolean {
  return letter !== undefined && SYMBOL_LETTERS[letter.char] !== undefined;
}

function latinRun(letters: readonly Letter[], from: number): string {
  let run = "";
  for (let at = from; letters[at]?.script === "latin"; at++) run += letters[at]?.char ?? "";
  return run;
}
