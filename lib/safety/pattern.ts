/**
 * Patterns over sounds, written in Bengali (or Latin letters for English words).
 *
 * Words stand apart by spaces: `*` for any ending, `#` for a number, `..` for up to three words
 * between, `...` for up to six, `(a|b c)` for either, `(a|b)?` for none or either, `!(a|b)` for "not
 * followed by", `@name` for a list of the lexicon, `a & b` for both within eight words in any order.
 *
 * @module
 */
import type { WordAutomaton } from "./word_automaton.ts";

/** A part of a pattern. */
export type Node =
  | { readonly type: "word"; readonly word: number }
  | { readonly type: "gap"; readonly most: number; readonly wide: boolean }
  | {
    readonly type: "group";
    readonly options: readonly (readonly Node[])[];
    readonly mode: "once" | "optional" | "not";
  };

/** Thrown for a pattern that cannot be read. */
export class PatternError extends Error {
  override readonly name = "PatternError";
}

/** Named lists that patterns refer to. */
export type Lists = Readonly<Record<string, string>>;

/** Reads patterns; a list is read once however often it is named. */
export class PatternReader {
  readonly #known = new Map<string, Node>();

  constructor(readonly automaton: WordAutomaton, readonly lists: Lists) {}

  /** The parts of a pattern, in order. */
  read(source: string): readonly Node[] {
    const [first, second, ...rest] = source.split(" & ");
    if (rest.length > 0) throw new PatternError(`Pattern "${source}": expected one & at most.`);
    const a = this.#sequence(first ?? "");
    if (second === undefined) return a;
    const b = this.#sequence(second);
    const gap: Node = { type: "gap", most: 8, wide: true };
    return [{ type: "group", mode: "once", options: [[...a, gap, ...b], [...b, gap, ...a]] }];
  }

  #list(name: string, source: string): Node {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const list = this.lists[name];
    if (list === undefined) {
      throw new PatternError(
        `Pattern "${source}": expected a list of the lexicon, found @${name}. Add it to "lists".`,
      );
    }
    const [node] = this.#sequence(`(${list})`);
    if (node === undefined) throw new PatternError(`List "${name}": expected words, found none.`);
    this.#known.set(name, node);
    return node;
  }

  #sequence(source: string): Node[] {
    const tokens = source.match(/!\(|\)\?|[()|]|\.{2,3}|![^\s()|!]+|[^\s()|!]+/g) ?? [];
    let at = 0;
    const fail = (why: string): never => {
      throw new PatternError(`Pattern "${source}": ${why}.`);
    };
    const word = (text: string): Node =>
      text.startsWith("@")
        ? this.#list(text.slice(1), source)
        : { type: "word", word: this.automaton.add(text) };
    const group = (mode: "once" | "not"): Node => {
      const options: Node[][] = [];
      do {
        at++;
        options.push(sequence());
      } while (tokens[at] === "|");
      const closing = tokens[at];
      if (closing !== ")" && closing !== ")?") fail("expected a closing bracket, found its end");
      if (options.some((option) => option.length === 0)) {
        fail("expected words, found an empty choice");
      }
      return { type: "group", options, mode: closing === ")?" ? "optional" : mode };
    };
    const sequence = (): Node[] => {
      const nodes: Node[] = [];
      for (; at < tokens.length; at++) {
        const token = tokens[at] ?? "";
        if (token === "|" || token === ")" || token === ")?") break;
        if (token === "(" || token === "!(") nodes.push(group(token === "!(" ? "not" : "once"));
        else if (/^\.+$/.test(token)) {
          nodes.push({ type: "gap", most: token.length * 3 - 3, wide: false });
        } else if (token.startsWith("!")) {
          nodes.push({ type: "group", mode: "not", options: [[word(token.slice(1))]] });
        } else nodes.push(word(token));
      }
      return nodes;
    };
    const nodes = sequence();
    if (at < tokens.length) fail(`expected words, found "${tokens[at]}"`);
    if (nodes.length === 0) fail("expected words, found none");
    return nodes;
  }
}

/** The words that a sequence can begin with. */
export function firstWords(nodes: readonly Node[], source: string): Set<number> {
  const first = new Set<number>();
  for (const node of nodes) {
    if (node.type === "gap") {
      throw new PatternError(`Pattern "${source}": expected a word first, found a gap.`);
    }
    if (node.type === "word") return first.add(node.word);
    if (node.mode === "not") continue;
    for (const option of node.options) {
      for (const word of firstWords(option, source)) first.add(word);
    }
    if (node.mode === "once") return first;
  }
  throw new PatternError(`Pattern "${source}": expected a word that must stand there, found none.`);
}
