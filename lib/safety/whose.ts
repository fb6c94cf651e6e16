/**
 * Whose trouble a message tells of: the writer's, or somebody else's ("আমার বোন মরতে চায়").
 *
 * @module
 */
import { safetyLexicon } from "./lexicon.ts";
import { type PatternMatch, PatternSet } from "./pattern_set.ts";

/** The groups of the set of subjects. */
const RELATION = 0, PRONOUN = 1, OWNER = 2, SELF = 3;

let compiled: PatternSet | undefined;

function subjects(): PatternSet {
  compiled ??= new PatternSet(
    [["@others"], ["@other_pronouns"], ["@others_owner"], ["@self"]],
    safetyLexicon().lists,
  );
  return compiled;
}

/** Endings that only the first person has: চাই, করব, যাচ্ছি, ছিলাম. */
const FIRST_PERSON = /(?:ই|ছি|ব|বো|লাম|তাম|মু)[\p{P}\s]*$/u;
/** Endings that only the third person has: চায়, করবে, যাচ্ছে, করেছিল. */
const THIRD_PERSON =
  /(?:চায়|চায়|ছে|বে|ছেন|বেন|চান|ছিল|লেন|(?:chay|chae|che|be|chan|ben))[\p{P}\s]*$/iu;

const wordsIn = (text: string): number => text.split(" ").filter((word) => word !== "").length;

/**
 * Whether a match tells of somebody else: a relation or a pronoun stands as its subject in the same
 * clause and the writer does not.
 *
 * @param key the match key, idioms blanked
 * @param original the original words of the match
 */
export function aboutSomebodyElse(key: string, match: PatternMatch, original: string): boolean {
  const ending = original.normalize("NFC");
  if (FIRST_PERSON.test(ending)) return false;
  const third = THIRD_PERSON.test(ending);
  const clause = key.slice(Math.max(0, match.start - 160), match.start).replace(/^.*[.,] /s, "");
  const found = subjects().find(clause + key.slice(match.start, match.end) + " ");
  const last = (...groups: number[]): number =>
    Math.max(-1, ...found.filter((one) => groups.includes(one.group)).map((one) => one.end));
  const self = last(SELF);
  const within = (end: number): boolean => end >= 0 && end <= clause.length && self <= end;
  const owner = last(OWNER);
  if (within(owner) && wordsIn(clause.slice(owner)) <= 1) return true;
  const subject = last(RELATION, PRONOUN);
  if (within(subject)) return third || wordsIn(clause.slice(subject)) <= 3;
  const after = key.slice(match.end).replace(/[.,] .*$/s, "").trim().split(" ").slice(0, 3).join(
    " ",
  );
  return third && self < 0 && subjects().groupsIn(`${after} `).has(RELATION);
}
