/**
 * The match key of a text: its sounds, with the way back to the original offsets.
 *
 * @module
 */
import { type Letter, lettersOf } from "./letters.ts";
import { bengaliPhones } from "./phones.ts";
import { romanPhones } from "./roman_phones.ts";

/**
 * Words of phones, each followed by one space; `,` stands for a pause and `.` for a sentence's end,
 * as words of their own; digits are Latin. `starts[i]` and `ends[i]` are the UTF-16 offsets of the
 * original letters that `text[i]` came from.
 */
export interface MatchKey {
  readonly text: string;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

class KeyBuilder {
  readonly #parts: string[] = [];
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  /** What the key ends with. */
  #last: "nothing" | "word" | "space" | "stop" = "nothing";

  add(key: string, start: number, end: number): void {
    if (key === "") return;
    this.#parts.push(key);
    for (let at = 0; at < key.length; at++) {
      this.starts.push(start);
      this.ends.push(end);
    }
    this.#last = "word";
  }

  /** Ends a word, if one is open. */
  space(at: number): void {
    if (this.#last !== "word") return;
    this.add(" ", at, at);
    this.#last = "space";
  }

  /** A pause or an end; not two in a row, not at the beginning. */
  stop(mark: "," | ".", start: number, end: number): void {
    this.space(start);
    if (this.#last !== "space") return;
    this.add(mark, start, end);
    this.add(" ", end, end);
    this.#last = "stop";
  }

  build(): MatchKey {
    return { text: this.#parts.join(""), starts: this.starts, ends: this.ends };
  }
}

/** Words of romanised Bengali that are written short. */
const SHORTHAND: Readonly<Record<string, string>> = {
  amr: "amar",
  amk: "amake",
  ame: "ami",
  tmr: "tomar",
  tmk: "tomake",
  vlo: "valo",
  krte: "korte",
  krbo: "korbo",
  kre: "kore",
  krsi: "korsi",
  krchi: "korchi",
  hbe: "hobe",
  bchte: "bachte",
  thkte: "thakte",
  thkbo: "thakbo",
  prchi: "parchi",
  prsi: "parsi",
  prbo: "parbo",
  jbo: "jabo",
  khbo: "khabo",
  dbo: "debo",
  sb: "sob",
  kno: "keno",
  r: "ar",
};

const SENTENCE_END = /[।॥?!.…\n]/u;
const PAUSE = /[,;:()\[\]{}—–،؛]/u;
/** Written inside a word without parting it: don't, মা'র. */
const APOSTROPHE = /['’‘`´]/u;

/** Letters repeated three times and more count once. */
function unstretched(letters: readonly Letter[]): Letter[] {
  const kept: Letter[] = [];
  for (let at = 0; at < letters.length;) {
    const letter = letters[at];
    if (letter === undefined) break;
    let run = 1;
    while (letters[at + run]?.char === letter.char) run++;
    const most = run >= 3 || /[া-ৌ]/u.test(letter.char) ? 1 : run;
    const last = letters[at + run - 1] ?? letter;
    for (let copy = 0; copy < most; copy++) {
      kept.push(copy === most - 1 ? { ...letter, end: last.end } : letter);
    }
    at += run;
  }
  return kept;
}

/** A shorthand word as the word it stands for; its letters keep the place of the whole. */
function spelledOut(letters: readonly Letter[]): readonly Letter[] {
  const first = letters[0];
  const full = first?.script === "latin"
    ? SHORTHAND[letters.map((letter) => letter.char).join("")]
    : undefined;
  if (first === undefined || full === undefined) return letters;
  const end = letters.at(-1)?.end ?? first.end;
  return [...full].map((char) => ({ char, script: "latin", start: first.start, end }));
}

function addWord(builder: KeyBuilder, letters: readonly Letter[]): void {
  const script = letters[0]?.script;
  if (script === "digit") {
    for (const { char, start, end } of letters) builder.add(char, start, end);
    return;
  }
  const plain = spelledOut(unstretched(letters));
  const phones = script === "latin"
    ? romanPhones(plain.map((letter) => letter.char).join(""))
    : bengaliPhones(plain.map((letter) => letter.char))
      .map(({ key, from, to }) => ({ key, from, to: to + 1 }));
  for (const { key, from, to } of phones) {
    builder.add(key, plain[from]?.start ?? 0, plain[to - 1]?.end ?? 0);
  }
}

/** Places of Latin letters that stand alone, one separator between: "m o r t e", "m.o.r.t.e". */
function spacedLetters(letters: readonly Letter[], from: number): number[] {
  const places: number[] = [];
  const isLatin = (at: number): boolean => letters[at]?.script === "latin";
  for (let at = from; isLatin(at) && !isLatin(at + 1); at += 2) {
    places.push(at);
    const between = letters[at + 1]?.script;
    if (between !== "space" && between !== "mark") break;
  }
  return places;
}

/** Makes the match key of a text. */
export function matchKeyOf(text: string): MatchKey {
  const letters = lettersOf(text);
  const builder = new KeyBuilder();
  for (let at = 0; at < letters.length;) {
    const letter = letters[at];
    if (letter === undefined) break;
    if (letter.script === "space" || letter.script === "mark") {
      separate(builder, letters, at, text);
      at++;
      continue;
    }
    const spaced = spacedLetters(letters, at);
    if (spaced.length > 2) {
      addWord(builder, spaced.map((place) => letters[place] ?? letter));
      at = (spaced.at(-1) ?? at) + 1;
      continue;
    }
    let end = at;
    while (letters[end]?.script === letter.script) end++;
    const before = letters[at - 1]?.script;
    if ((letter.script === "digit" || before === "digit") && before !== undefined) {
      builder.space(letter.start);
    }
    addWord(builder, letters.slice(at, end));
    at = end;
  }
  builder.space(text.length);
  return builder.build();
}

function separate(builder: KeyBuilder, letters: readonly Letter[], at: number, text: string): void {
  const letter = letters[at];
  if (letter === undefined) return;
  const before = letters[at - 1]?.script ?? "space";
  const after = letters[at + 1]?.script ?? "space";
  const isLetter = (script: string): boolean => script !== "space" && script !== "mark";
  const inside = isLetter(before) && isLetter(after);
  if (APOSTROPHE.test(letter.char) && inside) return;
  const line = /[\n\u2028\u2029]/u.test(text.slice(letter.start, letter.end));
  if (line || (SENTENCE_END.test(letter.char) && (!inside || /[।॥?]/u.test(letter.char)))) {
    builder.stop(".", letter.start, letter.end);
  } else if (PAUSE.test(letter.char) && !inside) builder.stop(",", letter.start, letter.end);
  else builder.space(letter.start);
}
