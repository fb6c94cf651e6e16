/**
 * All words of a set of patterns as one automaton over sounds: one walk finds every word of the set
 * that begins at a place, whatever its spelling.
 *
 * @module
 */
import { romanPhones } from "./roman_phones.ts";
import type { SoundStream } from "./sound_stream.ts";
import { bengaliPieces, type Piece } from "./spellings.ts";

/** A word of the set found in a stream. */
export interface WordMatch {
  readonly word: number;
  /** Index just after it. */
  readonly end: number;
}

interface State {
  readonly id: number;
  readonly next: Map<string, State[]>;
  /** Reached without reading. */
  readonly free: State[];
  /** Words that end here. */
  readonly whole: number[];
  /** Words that end here or go on to the end of their token (`*`). */
  readonly stems: number[];
}

/** A set of states after reading some sounds, found once and kept. */
interface Reading {
  readonly states: readonly State[];
  /** The last sound: written twice it counts once. */
  readonly last: string;
  readonly whole: readonly number[];
  readonly stems: readonly number[];
  readonly next: Map<string, Reading | null>;
}

/** Sounds that a token's first word must have to be found joined to the next one. */
const LEAST_JOINED = 3;

/** Most readings that are kept. */
const KEPT_READINGS = 100_000;

/** Words that take no emphatic -ই -ও: with one they would be others. */
const KEEPS_ITS_FORM: ReadonlySet<string> = new Set(
  ["না", "নি", "নয়", "কি", "ও", "যা", "সে", "কেন"].map((word) => word.normalize("NFC")),
);
const BENGALI = /[\u0980-\u09ff]/u;

/** Any number of one to four digits, as a word of a pattern. */
export const ANY_NUMBER = "#";

function piecesOf(word: string): readonly Piece[] {
  if (BENGALI.test(word)) return bengaliPieces(word);
  const keys = /^\d+$/.test(word)
    ? word
    : romanPhones(word.toLowerCase()).map(({ key }) => key).join("");
  return [...keys].map((key) => ({ options: [key], optional: false }));
}

/** The automaton; words are added while patterns are read, then it only finds. */
export class WordAutomaton {
  #states = 0;
  readonly #root = this.#newState();
  readonly #ids = new Map<string, number>();
  readonly #readings = new Map<string, Reading>();
  #first: Reading | null = null;
  readonly #branches = new Map<State, Map<string, State>>();
  readonly #numbers = new Set<number>();
  #anyNumber = -1;

  #newState(): State {
    return { id: this.#states++, next: new Map(), free: [], whole: [], stems: [] };
  }

  /** The number of a word, which is added if it is new. */
  add(text: string): number {
    const word = text.normalize("NFC");
    const known = this.#ids.get(word);
    if (known !== undefined) return known;
    const id = this.#ids.size;
    this.#ids.set(word, id);
    if (word === ANY_NUMBER) this.#anyNumber = id;
    else this.#insert(word, id);
    return id;
  }

  #insert(word: string, id: number): void {
    const isStem = word.endsWith("*");
    const letters = isStem ? word.slice(0, -1) : word;
    const pieces = piecesOf(letters);
    if (pieces.length === 0 || /\d\D|\D\d|[০-৯]/u.test(letters)) {
      throw new RangeError(
        `Word "${word}": expected letters or Latin digits, not both. Write "20 টা" for ২০টা.`,
      );
    }
    if (/^\d+$/.test(letters)) this.#numbers.add(id);
    let state = this.#root;
    for (const piece of pieces) state = this.#branch(state, piece);
    if (isStem) state.stems.push(id);
    else {
      state.whole.push(id);
      if (BENGALI.test(letters) && !KEEPS_ITS_FORM.has(letters)) {
        this.#branch(state, { options: ["i", "o"], optional: false }).whole.push(id);
      }
    }
  }

  #branch(from: State, piece: Piece): State {
    const label = `${piece.options.join("|")}${piece.optional ? "?" : ""}`;
    const branches = this.#branches.get(from) ?? new Map<string, State>();
    this.#branches.set(from, branches);
    const known = branches.get(label);
    if (known !== undefined) return known;
    const to = this.#newState();
    branches.set(label, to);
    if (piece.optional) from.free.push(to);
    for (const option of piece.options) {
      let state = from;
      const chars = [...option];
      chars.forEach((char, at) => {
        const next = at === chars.length - 1 ? to : this.#newState();
        const list = state.next.get(char);
        if (list === undefined) state.next.set(char, [next]);
        else list.push(next);
        state = next;
      });
    }
    return to;
  }

  /**
   * Every word that begins at a place. In a strict stream a word begins and ends with a token; in a
   * loose one it may go on over the next tokens, or end inside one.
   */
  matchesAt(stream: SoundStream, from: number): WordMatch[] {
    const first = stream.chars.charCodeAt(from);
    if (first >= 48 && first <= 57) return this.#numberAt(stream, from);
    const found: WordMatch[] = [];
    let reading: Reading | null = this.#first ??= this.#readingOf([this.#root], "");
    for (let at = from; at < stream.chars.length; at++) {
      reading = this.#step(reading, stream.chars.charAt(at));
      if (reading === null) break;
      const end = at + 1;
      const boundary = stream.isStart(end);
      if (
        boundary ||
        (stream.loose &&
          (end - from >= LEAST_JOINED || !stream.isStart(from) || stream.isJoined(from)))
      ) {
        for (const word of reading.whole) found.push({ word, end });
      }
      if (reading.stems.length > 0) {
        const tokenEnd = boundary ? end : stream.nextStart(end);
        for (const word of reading.stems) found.push({ word, end: tokenEnd });
      }
      if (boundary && !stream.loose) break;
    }
    return found;
  }

  /** What is reached by one more sound; null when no word goes on so. */
  #step(from: Reading, char: string): Reading | null {
    const known = from.next.get(char);
    if (known !== undefined) return known;
    const reached = from.states.flatMap((state) => state.next.get(char) ?? []);
    if (from.last === char) reached.push(...from.states);
    const to = reached.length === 0 ? null : this.#readingOf(reached, char);
    if (from.next.size < 256) from.next.set(char, to);
    return to;
  }

  #readingOf(reached: readonly State[], last: string): Reading {
    const all = new Set<State>();
    for (const state of reached) open(state, all);
    const states = [...all].sort((a, b) => a.id - b.id);
    const key = `${last} ${states.map((state) => state.id).join(" ")}`;
    const known = this.#readings.get(key);
    if (known !== undefined) return known;
    const words = (of: (state: State) => readonly number[]): number[] => [
      ...new Set(states.flatMap(of)),
    ];
    const reading: Reading = {
      states,
      last,
      whole: words((state) => state.whole),
      stems: words((state) => state.stems),
      next: new Map(),
    };
    if (this.#readings.size < KEPT_READINGS) this.#readings.set(key, reading);
    return reading;
  }

  #numberAt(stream: SoundStream, from: number): WordMatch[] {
    const end = stream.nextStart(from);
    const digits = stream.chars.slice(from, end);
    const found: WordMatch[] = [];
    const id = this.#ids.get(digits);
    if (id !== undefined && this.#numbers.has(id)) found.push({ word: id, end });
    if (this.#anyNumber >= 0 && /^\d{1,4}$/.test(digits)) {
      found.push({ word: this.#anyNumber, end });
    }
    return found;
  }
}

function open(state: State, into: Set<State>): void {
  if (into.has(state)) return;
  into.add(state);
  for (const free of state.free) open(free, into);
}
