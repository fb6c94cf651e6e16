/**
 * The match key of a text: its sounds, with the way back to the original offsets.
 *
 * @module
 */
import { type Letter, lettersOf } from "./letters.ts";
import { bengaliPhones, romanPhones } from "./phones.ts";

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
  text = "";
  readonly starts: number[] = [];
  readonly ends: number[] = [];

  add(key: string, start: number, end: number): void {
    this.text += key;
    for (let at = 0; at < key.length; at++) {
      this.starts.push(start);
      this.ends.push(end);
    }
  }

  /** Ends a word, if one is open. */
  space(at: number): void {
    if (this.text !== "" && !this.text.endsWith(" ")) this.add(" ", at, at);
  }

  /** A pause or an end; not two in a row, not at the beginning. */
  stop(mark: "," | ".", start: number, end: number): void {
    this.space(start);
    if (this.text === "" || this.text.endsWith(". ")) return;
    if (this.text.endsWith(", ")) return;
    this.add(mark, start, end);
    this.add(" ", end, end);
  }
}

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

function addWord(builder: KeyBuilder, letters: readonly Letter[]): void {
  const script = letters[0]?.script;
  if (script === "digit") {
    for (const { char, start, end } of letters) builder.add(char, start, end);
    return;
  }
  const plain = unstretched(letters);
  const phones = script === "latin"
    ? romanPhones(plain.map((letter) => letter.char).join(""))
    : bengaliPhones(plain.map((letter) => letter.char))
      .map(({ key, from, to }) => ({ key, from, to: to + 1 }));
  for (const { key, from, to } of phones) {
    builder.add(key, plain[from]?.start ?? 0, plain[to - 1]?.end ?? 0);
  }
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
  const { starts, ends } = builder;
  return { text: builder.text, starts, ends };
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
