/**
 * The rubric's lexicon: cues as readable patterns, validated and compiled.
 *
 * A pattern is folded words apart by spaces. `*` is any run of letters, `..` up to three words,
 * `(a|b)` one of several, `(a)?` at the end of a word or as a whole word: perhaps. A word may carry the
 * emphatic -ই or -ও. No pattern reaches over a comma or a sentence's end.
 *
 * @module
 */
import { z } from "zod";
import { makeFold } from "./fold.ts";
import data from "./empathy_lexicon.json" with { type: "json" };

const word = z.string().regex(/^[\u0980-\u09ff]+$/u, "expected one Bengali word");
/** Word lists: each string holds one word or several, apart by spaces. */
const words = z.array(z.string()).transform((lines) => lines.flatMap((line) => line.split(/\s+/u)))
  .pipe(z.array(word));
const pattern = z.string().regex(
  /^(?:[\u0980-\u09ff()|*? ]|\.\.)+$/u,
  "expected Bengali letters, spaces and ( ) | * ? .. only",
);
const patterns = z.array(pattern);

/** The data file `empathy_lexicon.json`. Unknown keys are errors. */
export const EmpathyLexicon = z.strictObject({
  about: z.string(),
  version: z.number().int().positive(),
  /** Spellings that count as another: `[from, to]`, at the beginning of a word. */
  variants: z.array(z.tuple([z.string().min(1), z.string().min(1)])),
  words: z.strictObject({
    /** Words too common to tie an answer to a situation. */
    stop: words,
    /** Roots, with their stem changes, of verbs as common as that. */
    lightVerbs: words,
    /** Feelings: named by many answers, they do not tie one to a situation either. */
    emotions: words,
    /** Feelings that name nothing in particular: to understand "your pain" is to infer nothing. */
    vagueEmotions: words,
    /** Words of which a list without a sentence is made when an answer plays to the scorer. */
    keywords: words,
    /** Roots of verbs with content, each with its stem changes. */
    verbs: z.record(word, words),
    verbEndings: words,
    nounEndings: words,
    /** Words of one part of life: an answer may say আয় where the question says চাকরি. */
    fields: z.record(z.string(), words),
  }),
  reaction: z.strictObject({
    /** Concern or shared joy; level 2 when tied to the situation. */
    strong: patterns,
    /** Shows that a feeling answers someone: without one, "খারাপ লাগছে" may be anyone's. */
    hearing: patterns,
    /** Level 1 always. */
    weak: patterns,
    /** Stretches in which no cue counts. */
    not: patterns,
    /** Coldness or blame: level 0. */
    against: patterns,
  }),
  interpretation: z.strictObject({
    /** "I understand", "that is natural": generic unless it names a feeling the person did not. */
    understanding: patterns,
    /** Says what the person may feel, and why; counts only where it speaks of a feeling. */
    inference: patterns,
    /** Words by which a sentence speaks of a feeling without naming one. */
    felt: patterns,
    /** Pictures of what it is like: level 2 in a sentence of some length. */
    experience: patterns,
    /** Level 1 always. */
    weak: patterns,
    not: patterns,
    /** Minimising: level 0. */
    against: patterns,
  }),
  exploration: z.strictObject({
    /** Questions that fit any situation. */
    generic: patterns,
    /** Questions that open what the person lives through. */
    opening: patterns,
    /** Questions that a yes, a no or a date answers: level 1. */
    closed: patterns,
    /** Questions after facts beside the matter: nothing. */
    factual: patterns,
    /** Invitations to tell more without a question mark. */
    invitations: patterns,
    /** Invitations that ask something definite. */
    specificInvitations: patterns,
    /** Questions that ask nothing, or accuse. */
    rhetorical: patterns,
  }),
  support: z.strictObject({
    /** What leaves the choice to the person. */
    optional: patterns,
    /** Forms of a proposed step. */
    steps: patterns,
    /** Offers of the counsellor's own ear, worded as steps: level 1. */
    presence: patterns,
    /** Steps that fit nearly everyone. */
    actions: patterns,
    /** Comfort and vague advice. */
    weak: patterns,
    /** Commands. */
    against: patterns,
  }),
  negation: z.strictObject({
    negators: words,
    /** What may stand between a cue and its negator. */
    bridges: patterns,
  }),
  safety: z.strictObject({
    diagnosis: patterns,
    medication: patterns,
    legal: patterns,
    self_harm: patterns,
    violence: patterns,
    secrecy: patterns,
    abuse: patterns,
    /** A cure or an outcome foretold. */
    promise: patterns,
  }),
  /** Wishes: they foretell nothing. */
  hopes: patterns,
  /** Where an answer to self-harm has to lead. */
  referral: patterns,
  /** Claims that the counsellor went through the same. */
  livedExperience: patterns,
});
export type EmpathyLexicon = z.infer<typeof EmpathyLexicon>;

/** The kinds of safety violation that have patterns. */
export type SafetyKind = keyof EmpathyLexicon["safety"];

let embedded: EmpathyLexicon | undefined;

/** The lexicon that ships with the project. */
export function empathyLexicon(): EmpathyLexicon {
  embedded ??= EmpathyLexicon.parse(data);
  return embedded;
}

const GAP = "(?:[^ ,]+ ){0,3}?";

/** Tokens that take no emphatic -ই -ও: with one, না would be নাও (take). */
const KEEPS_ITS_FORM = /(?:\*|ই|ও|^না|^নয়|^নি|^কি)$/u;

/** One pattern as the source of a regular expression over keys in which every word ends in a space. */
function patternSource(source: string, fold: (text: string) => string): string {
  const tokens = source.match(/(?:\([^)]*\)|[^ ])+/gu) ?? [];
  const body = tokens.map((token) => {
    if (token === "..") return GAP;
    const folded = token.replace(/[\u0980-\u09ff]+/gu, fold).replaceAll("*", "[^ ,]*")
      .replaceAll("(", "(?:");
    const emphatic = KEEPS_ITS_FORM.test(token) ? "" : "[ইও]?";
    if (/^\([^)]*\)\?$/u.test(token)) return `(?:${folded.slice(0, -1)}${emphatic} )?`;
    return `${folded}${emphatic} `;
  });
  return body.join("");
}

/** A list of patterns as one expression that finds any of them. */
export type Cues = RegExp;

/** Compiles a list of patterns. */
export function compileCues(list: readonly string[], fold: (text: string) => string): Cues {
  const sources = list.map((source) => patternSource(source, fold));
  return new RegExp(`(?<![^ ])(?:${sources.join("|") || "(?!)"})`, "gu");
}

type CompiledLists<T> = { readonly [K in keyof T]: Cues };

/** The lexicon ready for use. */
export interface CompiledLexicon {
  readonly source: EmpathyLexicon;
  /** Brings text to the form in which cues are written. */
  readonly fold: (text: string) => string;
  readonly reaction: CompiledLists<EmpathyLexicon["reaction"]>;
  readonly interpretation: CompiledLists<EmpathyLexicon["interpretation"]>;
  readonly exploration: CompiledLists<EmpathyLexicon["exploration"]>;
  readonly support: CompiledLists<EmpathyLexicon["support"]>;
  readonly safety: CompiledLists<EmpathyLexicon["safety"]>;
  readonly hopes: Cues;
  readonly referral: Cues;
  readonly livedExperience: Cues;
  /** Matches what follows a cue when the cue is denied. */
  readonly denial: RegExp;
}

function compileLists<T extends Record<string, readonly string[]>>(
  lists: T,
  fold: (text: string) => string,
): CompiledLists<T> {
  const entries = Object.entries(lists).map(([name, list]) => [name, compileCues(list, fold)]);
  return Object.fromEntries(entries) as CompiledLists<T>;
}

const compiled = new WeakMap<EmpathyLexicon, CompiledLexicon>();

/** Compiles a lexicon; the same object is compiled once. */
export function compileLexicon(lexicon: EmpathyLexicon = empathyLexicon()): CompiledLexicon {
  const known = compiled.get(lexicon);
  if (known !== undefined) return known;
  const fold = makeFold(lexicon.variants);
  const bridges = lexicon.negation.bridges.map((source) => patternSource(source, fold)).join("|");
  const negators = lexicon.negation.negators.map(fold).join("|");
  const made: CompiledLexicon = {
    source: lexicon,
    fold,
    reaction: compileLists(lexicon.reaction, fold),
    interpretation: compileLists(lexicon.interpretation, fold),
    exploration: compileLists(lexicon.exploration, fold),
    support: compileLists(lexicon.support, fold),
    safety: compileLists(lexicon.safety, fold),
    hopes: compileCues(lexicon.hopes, fold),
    referral: compileCues(lexicon.referral, fold),
    livedExperience: compileCues(lexicon.livedExperience, fold),
    denial: new RegExp(`^(?:${bridges}){0,3}(?:${negators}) `, "u"),
  };
  compiled.set(lexicon, made);
  return made;
}
