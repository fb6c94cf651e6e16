/**
 * Patterns over match keys, written in Bengali (or Latin letters for English words).
 *
 * Words stand apart by spaces: `*` for any ending, `..` for up to three words between, `...` for up
 * to six, `(a|b c)` for either, `(a|b)?` for none or either, `!(a|b)` for "not followed by",
 * `@name` for a list of the lexicon, `a & b` for both within eight words in any order.
 *
 * @module
 */
import { bengaliPieces, type Piece, romanPhones } from "./phones.ts";

/** Thrown for a pattern that cannot be read. */
export class PatternError extends Error {
  override readonly name = "PatternError";
}

type Node =
  | { readonly type: "word"; readonly text: string }
  | { readonly type: "gap"; readonly most: number }
  | {
    readonly type: "group";
    readonly options: readonly (readonly Node[])[];
    readonly mode: "once" | "optional" | "not";
  };

/** How a pattern is compiled: strict keeps word boundaries, loose finds letters spaced or joined. */
export type Form = "strict" | "loose";

/** Named lists that patterns refer to. */
export type Lists = Readonly<Record<string, string>>;

function expand(source: string, lists: Lists, depth = 0): string {
  if (depth > 8) throw new PatternError(`Pattern "${source}": its lists refer to one another.`);
  return source.replace(/@([a-z_]+)/g, (all, name: string) => {
    const list = lists[name];
    if (list === undefined) {
      throw new PatternError(
        `Pattern "${source}": expected a list of the lexicon, found ${all}. Add it to "lists".`,
      );
    }
    return `(${expand(list, lists, depth + 1)})`;
  });
}

function parse(source: string): Node[] {
  const tokens = source.match(/!\(|\)\?|[()|]|\.{2,3}|![^\s()|!]+|[^\s()|!]+/g) ?? [];
  let at = 0;
  const fail = (why: string): never => {
    throw new PatternError(`Pattern "${source}": ${why}.`);
  };
  const sequence = (): Node[] => {
    const nodes: Node[] = [];
    for (; at < tokens.length; at++) {
      const token = tokens[at] ?? "";
      if (token === "|" || token === ")" || token === ")?") break;
      if (token === "(" || token === "!(") nodes.push(group(token === "!(" ? "not" : "once"));
      else if (token === ".." || token === "...") {
        nodes.push({ type: "gap", most: token.length * 3 - 3 });
      } else if (token.startsWith("!")) {
        nodes.push({
          type: "group",
          mode: "not",
          options: [[{ type: "word", text: token.slice(1) }]],
        });
      } else nodes.push({ type: "word", text: token });
    }
    return nodes;
  };
  const group = (mode: "once" | "not"): Node => {
    const options: Node[][] = [];
    do {
      at++;
      options.push(sequence());
    } while (tokens[at] === "|");
    if (tokens[at] !== ")" && tokens[at] !== ")?") {
      fail("expected a closing bracket, found its end");
    }
    if (options.some((option) => option.length === 0)) {
      fail("expected words between brackets, found none");
    }
    return { type: "group", options, mode: tokens[at] === ")?" ? "optional" : mode };
  };
  const nodes = sequence();
  if (at < tokens.length) fail(`expected words, found "${tokens[at]}"`);
  if (nodes.length === 0) fail("expected words, found none");
  return nodes;
}

/** Words that take no emphatic -ই -ও: with one they would be others. */
const KEEPS_ITS_FORM = new Set(
  ["না", "নি", "নয়", "কি", "ও", "যা"].map((word) => word.normalize("NFC")),
);
const BENGALI = /[\u0980-\u09ff]/u;

function looseChar(char: string): string {
  if (/[KGTDFB]/.test(char)) {
    const plain = char === "F" ? "p" : char.toLowerCase();
    return `(?:${char}|${plain} ?h) ?`;
  }
  if (char === "N") return "(?:N|n ?g) ?";
  if (char === "u") return "(?:u|o ?o) ?";
  if (char === "i") return "(?:i|e ?e) ?";
  if (char === "s" || char === "c") return `${char} ?(?:h ?)?`;
  return `${char} ?`;
}

function pieceSource({ options, optional }: Piece, form: Form): string {
  const repeat = optional ? "*" : "+";
  if (form === "strict" && options.every((option) => option.length === 1)) {
    return `[${options.join("")}]${optional ? "?" : "{1,2}"}`;
  }
  const spelled = options.map((option) =>
    form === "loose" ? [...option].map(looseChar).join("") : option
  );
  const limit = repeat === "*" ? "?" : "{1,2}";
  return `(?:${spelled.join("|")})${limit}`;
}

function wordSource(text: string, form: Form): string {
  const anyEnd = text.endsWith("*");
  const word = anyEnd ? text.slice(0, -1) : text;
  if (/^\d+$/.test(word)) return form === "loose" ? `${[...word].join(" ?")} ` : `${word} `;
  if (word === "#") return "\\d{1,4} ";
  const pieces = BENGALI.test(word)
    ? bengaliPieces(word)
    : [...romanPhones(word.toLowerCase()).map(({ key }) => key).join("")]
      .map((char): Piece => ({ options: [char], optional: false }));
  if (pieces.length === 0) {
    throw new PatternError(`Pattern word "${text}": expected letters, found none.`);
  }
  const body = pieces.map((one) => pieceSource(one, form)).join("");
  const end = form === "loose" ? " ?" : " ";
  if (anyEnd) return `${body}[^ ,.]*${end}`;
  const emphatic = BENGALI.test(word) && !KEEPS_ITS_FORM.has(word.normalize("NFC")) ? "[ioy]?" : "";
  return `${body}${emphatic}${end}`;
}

function nodesSource(nodes: readonly Node[], form: Form): string {
  return nodes.map((node): string => {
    switch (node.type) {
      case "word":
        return wordSource(node.text, form);
      case "gap":
        return `(?:[^ ,.]+ ){0,${node.most}}?`;
      case "group": {
        const options = node.options.map((option) => nodesSource(option, form)).join("|");
        if (node.mode === "not") return `(?!${form === "loose" ? " ?" : ""}(?:${options}))`;
        return `(?:${options})${node.mode === "optional" ? "?" : ""}`;
      }
    }
  }).join("");
}

/** The source of a regular expression over match keys. */
export function patternSource(source: string, lists: Lists, form: Form): string {
  const [first, second, ...rest] = expand(source, lists).split(" & ");
  if (rest.length > 0) throw new PatternError(`Pattern "${source}": expected one & at most.`);
  if (first === undefined || second === undefined) {
    return nodesSource(parse(expand(source, lists)), form);
  }
  const between = "(?:[^ .]+ ){0,8}?";
  const [a, b] = [first, second].map((part) => nodesSource(parse(part), form));
  return `(?:${a}${between}${b}|${b}${between}${a})`;
}

/** Compiles patterns into one expression that finds any of them at a word's beginning. */
export function compilePatterns(sources: readonly string[], lists: Lists, form: Form): RegExp {
  const body = sources.map((source) => patternSource(source, lists, form)).join("|") || "(?!)";
  return new RegExp(`(?<![^ ])(?:${body})${form === "loose" ? "(?<= )" : ""}`, "g");
}
