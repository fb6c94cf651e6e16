/**
 * Whose trouble a message tells of: the writer's, or somebody else's ("আমার বোন মরতে চায়").
 *
 * @module
 */
import { safetyLexicon } from "./lexicon.ts";
import { compilePatterns } from "./pattern.ts";

interface Subjects {
  /** Somebody else as the subject, at the end of what stands before the match. */
  readonly relation: RegExp;
  readonly pronoun: RegExp;
  readonly owner: RegExp;
  readonly self: RegExp;
}

let compiled: Subjects | undefined;

function subjects(): Subjects {
  if (compiled !== undefined) return compiled;
  const { lists } = safetyLexicon();
  const of = (source: string): RegExp => compilePatterns([source], lists, "strict");
  compiled = {
    relation: of("@others"),
    pronoun: of("@other_pronouns"),
    owner: of("@others_owner"),
    self: of("@self"),
  };
  return compiled;
}

/** Endings that only the first person has: চাই, করব, যাচ্ছি, ছিলাম. */
const FIRST_PERSON = /(?:ই|ছি|ব|বো|লাম|তাম|মু)[\p{P}\s]*$/u;
/** Endings that only the third person has: চায়, করবে, যাচ্ছে, করেছিল. */
const THIRD_PERSON =
  /(?:চায়|চায়|ছে|বে|ছেন|বেন|চান|ছিল|লেন|(?:chay|chae|che|be|chan|ben))[\p{P}\s]*$/iu;

/** Index just after the last match of an expression; -1 without one. */
function lastEnd(text: string, expression: RegExp): number {
  let end = -1;
  for (const found of text.matchAll(expression)) end = found.index + found[0].length;
  return end;
}

const wordsIn = (text: string): number => text.split(" ").filter((word) => word !== "").length;

/**
 * Whether a match tells of somebody else: a relation or a pronoun stands as its subject in the same
 * clause and the writer does not.
 *
 * @param key the match key, idioms blanked
 * @param original the original words of the match
 */
export function aboutSomebodyElse(
  key: string,
  index: number,
  match: string,
  original: string,
): boolean {
  const { relation, pronoun, owner, self } = subjects();
  const clause = key.slice(Math.max(0, index - 160), index).replace(/^.*[.,] /s, "");
  const whole = clause + match;
  const subject = Math.max(lastEnd(clause, relation), lastEnd(clause, pronoun));
  const selfAt = lastEnd(whole, self);
  if (FIRST_PERSON.test(original.normalize("NFC"))) return false;
  const third = THIRD_PERSON.test(original.normalize("NFC"));
  const genitive = lastEnd(clause, owner);
  if (genitive >= 0 && selfAt <= genitive && wordsIn(clause.slice(genitive)) <= 1) return true;
  if (subject >= 0 && selfAt <= subject) return third || wordsIn(clause.slice(subject)) <= 3;
  const after = key.slice(index + match.length).replace(/[.,] .*$/s, "");
  const next = after.split(" ").slice(0, 3).join(" ") + " ";
  return third && selfAt < 0 && next.search(relation) >= 0;
}
