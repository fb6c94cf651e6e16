/**
 * Whose trouble a message tells of: the writer's, or somebody else's ("আমার বোন মরতে চায়").
 *
 * @module
 */
import { safetyLexicon } from "./lexicon.ts";
import { type PatternMatch, PatternSet } from "./pattern_set.ts";

/** The groups of the set of subjects. */
const RELATION = 0, PRONOUN = 1, OWNER = 2, SELF = 3, REPORT = 4;

let compiled: PatternSet | undefined;

function subjects(): PatternSet {
  compiled ??= new PatternSet(
    [["@others"], ["@other_pronouns"], ["@others_owner"], ["@self"], ["@reporting"]],
    safetyLexicon().lists,
  );
  return compiled;
}

/** Words that only the first person says of itself: চাই, করব, যাচ্ছি, ছিলাম. */
const FIRST_PERSON = wordLike(
  "চাই|চাইছি|চাচ্ছি|চাইতেছি|[^ ]*ছি|[^ ]*ব|[^ ]*বো|[^ ]*লাম|[^ ]*তাম|[^ ]*মু|যাই|দিই|পাই|[^ ]*bo|[^ ]*lam|[^ ]*chi|[^ ]*mu",
);
/** Words that only the third person is told of with: চায়, করবে, যাচ্ছে, করেছিল. */
const THIRD_PERSON = wordLike(
  "চায়|চান|[^ ]*ছে|[^ ]*বে|[^ ]*ছেন|[^ ]*বেন|[^ ]*ছিল|[^ ]*লেন|chay|chae|[^ ]*che|[^ ]*be|chan|[^ ]*ben|[^ ]*se",
);

function wordLike(source: string): RegExp {
  const letter = "[\\p{L}\\p{M}]";
  return new RegExp(
    `(?<!${letter})(?:${source.normalize("NFC").replaceAll("[^ ]", letter)})(?!${letter})`,
    "iu",
  );
}

const wordsIn = (text: string): number => text.split(" ").filter((word) => word !== "").length;

/** Whether somebody else's words are told: "আমার ছাত্র বলেছে, স্যার আমি মরে যাব". */
function isReported(key: string, match: PatternMatch): boolean {
  const before = key.slice(Math.max(0, match.start - 80), match.start).replace(/^.*[.] /s, "");
  const plain = before.replaceAll(", ", "");
  return subjects().find(plain).some(({ group, end }) =>
    group === REPORT && wordsIn(plain.slice(end)) <= 2
  );
}

/**
 * Whether a match tells of somebody else: a relation or a pronoun stands as its subject in the same
 * clause and the writer does not.
 *
 * @param key the match key, idioms blanked
 * @param original the original words of the match and the one after it
 */
export function aboutSomebodyElse(key: string, match: PatternMatch, original: string): boolean {
  const words = original.normalize("NFC");
  if (isReported(key, match)) return true;
  if (FIRST_PERSON.test(words)) return false;
  const third = THIRD_PERSON.test(words);
  const before = key.slice(Math.max(0, match.start - 160), match.start);
  const clause = third ? before : before.replace(/^.*[.,] /s, "");
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
