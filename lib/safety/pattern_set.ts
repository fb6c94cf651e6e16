/**
 * Finding many patterns in a match key at once, in time that grows with the text alone.
 *
 * @module
 */
import { firstWords, type Lists, type Node, PatternReader } from "./pattern.ts";
import { SoundStream } from "./sound_stream.ts";
import { WordAutomaton } from "./word_automaton.ts";

/** A pattern found: which group of patterns, and the stretch of the key. */
export interface PatternMatch {
  readonly group: number;
  readonly start: number;
  /** Index just after its last sound. */
  readonly end: number;
}

interface Pattern {
  readonly group: number;
  readonly nodes: readonly Node[];
}

/** Sounds of a joined token that count as one word of a gap. */
const SOUNDS_A_WORD = 5;

/**
 * Groups of patterns, compiled together.
 *
 * @example
 * ```ts
 * import { PatternSet } from "@lib/safety/pattern_set.ts";
 * import { matchKeyOf } from "@lib/safety/key.ts";
 * import { assertEquals } from "@std/assert";
 * const set = new PatternSet([["মন .. (ভালো নেই|খারাপ)"]], {});
 * const found = (text: string) => set.find(matchKeyOf(text).text).length;
 * assertEquals(["মনটা", "আমার মন আজ ভাল নেই", "mon valo nei"].map(found), [0, 1, 1]);
 * ```
 */
export class PatternSet {
  readonly #automaton = new WordAutomaton();
  readonly #byFirst = new Map<number, Pattern[]>();

  /** @throws {PatternError} a pattern that cannot be read */
  constructor(groups: readonly (readonly string[])[], lists: Lists) {
    const reader = new PatternReader(this.#automaton, lists);
    groups.forEach((sources, group) => {
      for (const source of sources) {
        const pattern = { group, nodes: reader.read(source) };
        for (const word of firstWords(pattern.nodes, source)) {
          const list = this.#byFirst.get(word);
          if (list === undefined) this.#byFirst.set(word, [pattern]);
          else list.push(pattern);
        }
      }
    });
  }

  /**
   * Every place where a pattern of a group begins, with its shortest end.
   *
   * @param key text of a match key
   * @param loose also over letters spaced apart and words joined
   * @param wanted the groups looked for; all without it
   */
  find(key: string, loose = false, wanted?: (group: number) => boolean): PatternMatch[] {
    const stream = new SoundStream(key, loose);
    const search = new Search(this.#automaton, stream);
    if (search.present.size === 0) return [];
    const found: PatternMatch[] = [];
    for (let at = 0; at < stream.chars.length; at = stream.nextStart(at)) {
      const words = search.wordsAt(at);
      if (words.size === 0) continue;
      const ends = new Map<number, number>();
      const tried = new Set<Pattern>();
      for (const word of words.keys()) {
        for (const pattern of this.#byFirst.get(word) ?? []) {
          if (tried.has(pattern) || (wanted !== undefined && !wanted(pattern.group))) continue;
          tried.add(pattern);
          if (!search.couldMatch(pattern.nodes)) continue;
          for (const end of search.ends(pattern.nodes, at)) {
            if (stream.isStart(end) && end < (ends.get(pattern.group) ?? Infinity)) {
              ends.set(pattern.group, end);
            }
          }
        }
      }
      for (const [group, end] of ends) {
        found.push({ group, start: stream.place(at), end: stream.place(end - 1) + 1 });
      }
    }
    return found;
  }

  /** The groups of which a pattern stands in the key. */
  groupsIn(key: string): Set<number> {
    return new Set(this.find(key).map(({ group }) => group));
  }

  /** The key with every match blanked by underscores. */
  blank(key: string): string {
    let blanked = key;
    for (const { start, end } of this.find(key)) {
      blanked = blanked.slice(0, start) + blanked.slice(start, end).replace(/[^ ]/g, "_") +
        blanked.slice(end);
    }
    return blanked;
  }
}

const NO_WORDS: ReadonlyMap<number, readonly number[]> = new Map();
const NOWHERE: readonly number[] = [];

/** One search: what was found at a place is remembered. */
class Search {
  readonly #words: (ReadonlyMap<number, readonly number[]> | undefined)[] = [];
  readonly #groups = new Map<Node, (readonly number[] | undefined)[]>();

  readonly #possible = new Map<Node, boolean>();
  /** Every word that stands anywhere in the stream. */
  readonly present: ReadonlySet<number>;

  constructor(readonly automaton: WordAutomaton, readonly stream: SoundStream) {
    const present = new Set<number>();
    const next = (at: number): number => stream.loose ? at + 1 : stream.nextStart(at);
    for (let at = 0; at < stream.chars.length; at = next(at)) {
      for (const word of this.wordsAt(at).keys()) present.add(word);
    }
    this.present = present;
  }

  /** Whether the words that a sequence cannot do without are all in the stream. */
  couldMatch(nodes: readonly Node[]): boolean {
    return nodes.every((node) => this.#isPossible(node));
  }

  #isPossible(node: Node): boolean {
    if (node.type === "word") return this.present.has(node.word);
    if (node.type === "gap" || node.mode !== "once") return true;
    let possible = this.#possible.get(node);
    if (possible === undefined) {
      possible = node.options.some((option) => this.couldMatch(option));
      this.#possible.set(node, possible);
    }
    return possible;
  }

  /** The words that begin at a place, with their ends. */
  wordsAt(at: number): ReadonlyMap<number, readonly number[]> {
    const known = this.#words[at];
    if (known !== undefined) return known;
    const matches = at < this.stream.chars.length ? this.automaton.matchesAt(this.stream, at) : [];
    if (matches.length === 0) return this.#words[at] = NO_WORDS;
    const found = new Map<number, number[]>();
    for (const { word, end } of matches) {
      const ends = found.get(word);
      if (ends === undefined) found.set(word, [end]);
      else if (!ends.includes(end)) ends.push(end);
    }
    this.#words[at] = found;
    return found;
  }

  /** Every place where a sequence that begins here can end. */
  ends(nodes: readonly Node[], from: number): readonly number[] {
    let places: readonly number[] = [from];
    for (const node of nodes) {
      const only = places[0];
      if (only === undefined) return NOWHERE;
      places = places.length === 1 ? this.#nodeEnds(node, only) : this.#allEnds(node, places);
    }
    return places;
  }

  #allEnds(node: Node, places: readonly number[]): readonly number[] {
    const ends: number[] = [];
    for (const place of places) {
      for (const end of this.#nodeEnds(node, place)) if (!ends.includes(end)) ends.push(end);
    }
    return ends;
  }

  #nodeEnds(node: Node, at: number): readonly number[] {
    switch (node.type) {
      case "word":
        return this.wordsAt(at).get(node.word) ?? NOWHERE;
      case "gap":
        return this.#gapEnds(at, node.most, node.wide);
      case "group": {
        let known = this.#groups.get(node);
        if (known === undefined) this.#groups.set(node, known = []);
        return known[at] ??= this.#groupEnds(node, at);
      }
    }
  }

  #groupEnds(node: Extract<Node, { type: "group" }>, at: number): readonly number[] {
    if (node.mode === "not") {
      return node.options.some((option) => this.ends(option, at).length > 0) ? NOWHERE : [at];
    }
    const ends: number[] = node.mode === "optional" ? [at] : [];
    for (const option of node.options) {
      for (const end of this.ends(option, at)) if (!ends.includes(end)) ends.push(end);
    }
    return ends.length === 0 ? NOWHERE : ends;
  }

  #gapEnds(from: number, most: number, wide: boolean): number[] {
    const ends = [from];
    if (!this.stream.isStart(from)) return ends;
    let at = from;
    for (let count = 0; count < most && at < this.stream.chars.length;) {
      const char = this.stream.chars.charAt(at);
      if (char === "." || (char === "," && !wide)) break;
      count += this.stream.isJoined(at) ? 1 / SOUNDS_A_WORD : 1;
      at = this.stream.nextStart(at);
      ends.push(at);
    }
    return ends;
  }
}
