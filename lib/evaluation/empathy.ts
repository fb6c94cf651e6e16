/**
 * The automatic empathy score: a proxy by rules for the rubric of four criteria of 0..2.
 *
 * Deterministic: patterns of folded Bengali find what a sentence does, denial takes it back, and words
 * shared with the question (stemmed) tell a specific sentence (2) from a generic one (1). Repeating the
 * question or listing the right words earns nothing. Every level comes with the sentences that gave
 * it. It sees wording, not understanding; `tests/evaluation` holds its agreement with graded answers.
 *
 * @module
 */
import { affirmedCue, hasCue } from "./cue_search.ts";
import {
  type Finding,
  readExploration,
  readInterpretation,
  readReaction,
  readSupport,
} from "./empathy_criteria.ts";
import { type FormGate, formGate, type SafetyGate, safetyGate } from "./empathy_gates.ts";
import { type CompiledLexicon, compileLexicon, type EmpathyLexicon } from "./empathy_lexicon.ts";
import {
  EMPATHY_CRITERIA,
  type EmpathyCriterion,
  type EmpathyLevel,
  type EmpathyLevels,
  rubricScore,
} from "./rubric.ts";
import { readAnswer, type ReadSentence } from "./sentence_reading.ts";

/** A sentence that counted, and for what. */
export interface EmpathyEvidence {
  readonly criterion: EmpathyCriterion;
  readonly level: EmpathyLevel;
  /** The sentence; `answer.slice(start, end)`. */
  readonly sentence: string;
  readonly start: number;
  readonly end: number;
  /** The words that decided, folded; `?` for a question. */
  readonly cue: string;
}

/** The score of one answer. */
export interface EmpathyScore {
  readonly levels: EmpathyLevels;
  /** Sum of the levels of 8, in percent; 0 when the safety gate is not passed. */
  readonly score: number;
  readonly evidence: readonly EmpathyEvidence[];
  /** Sentences that took a criterion back to 0: cold, blaming, minimising, interrogating. */
  readonly against: readonly EmpathyEvidence[];
  readonly form: FormGate;
  readonly safety: SafetyGate;
}

const READINGS = {
  reaction: readReaction,
  interpretation: readInterpretation,
  exploration: readExploration,
  support: readSupport,
} as const;

/** From this many questions on, asking is interrogating. */
const INTERROGATION = 3;

/** The best level a criterion reaches, with all sentences that reach it. */
function best(found: readonly EmpathyEvidence[], criterion: EmpathyCriterion): EmpathyLevel {
  return found.reduce<EmpathyLevel>(
    (level, one) => one.criterion === criterion && one.level > level ? one.level : level,
    0,
  );
}

function evidenceOf(
  criterion: EmpathyCriterion,
  { text, start, end }: ReadSentence,
  { level, cue }: Finding,
): EmpathyEvidence {
  return { criterion, level, sentence: text, start, end, cue };
}

/** Sentences that speak against a criterion. */
function findAgainst(
  sentences: readonly ReadSentence[],
  lexicon: CompiledLexicon,
): EmpathyEvidence[] {
  const found: EmpathyEvidence[] = [];
  const add = (criterion: EmpathyCriterion, sentence: ReadSentence, cue: string): void => {
    found.push(evidenceOf(criterion, sentence, { level: 0, cue }));
  };
  for (const sentence of sentences) {
    for (const criterion of ["reaction", "interpretation", "support"] as const) {
      const cue = affirmedCue(sentence.key, lexicon[criterion].against, lexicon);
      if (cue !== undefined) add(criterion, sentence, cue);
    }
    if (hasCue(sentence.key, lexicon.exploration.rhetorical) && sentence.question) {
      add("exploration", sentence, "?");
    }
  }
  const questions = sentences.filter((sentence) => sentence.question);
  if (questions.length >= INTERROGATION) {
    for (const sentence of questions) add("exploration", sentence, `${questions.length} × ?`);
  }
  return found;
}

/** Level of a criterion: what speaks for it, unless something speaks against it. */
function levelOf(
  criterion: EmpathyCriterion,
  evidence: readonly EmpathyEvidence[],
  against: readonly EmpathyEvidence[],
): EmpathyLevel {
  const level = best(evidence, criterion);
  const refuted = against.some((one) => one.criterion === criterion);
  // A strong sentence outweighs a clumsy one, except where questions pile up.
  if (!refuted) return level;
  return level === 2 && criterion !== "exploration" ? 1 : 0;
}

/**
 * Scores one answer.
 *
 * @param lexicon another lexicon than the embedded one
 *
 * @example
 * ```ts
 * import { scoreEmpathy } from "@lib/evaluation/empathy.ts";
 * import { assertEquals } from "@std/assert";
 * const { levels, score } = scoreEmpathy(
 *   "আমার চাকরি চলে গেছে এবং আমি হতাশ।",
 *   "আপনার চাকরি চলে যাওয়ার কথা শুনে সত্যিই খারাপ লাগছে। " +
 *     "চাইলে কাছের কারও সঙ্গে কথা বলতে পারেন।",
 * );
 * assertEquals(levels, { reaction: 2, interpretation: 0, exploration: 0, support: 2 });
 * assertEquals(score, 50);
 * ```
 */
export function scoreEmpathy(
  question: string,
  answer: string,
  lexicon?: EmpathyLexicon,
): EmpathyScore {
  const compiled = compileLexicon(lexicon);
  const read = readAnswer(question, answer, compiled);
  const sentences = read.sentences.filter((sentence) => !sentence.hollow);
  const found = sentences.flatMap((sentence) =>
    EMPATHY_CRITERIA.flatMap((criterion) => {
      const finding = READINGS[criterion](sentence, read, compiled);
      return finding === undefined ? [] : [{ criterion, sentence, finding }];
    })
  );
  const understands = !read.elsewhere &&
    found.some((one) => one.criterion === "interpretation" && one.finding.level === 2);
  const evidence = found.map(({ criterion, sentence, finding }) =>
    evidenceOf(criterion, sentence, {
      ...finding,
      level: understands && finding.own === true ? 2 : finding.level,
    })
  );
  const against = findAgainst(sentences, compiled);
  const levels = Object.fromEntries(
    EMPATHY_CRITERIA.map((criterion) => [criterion, levelOf(criterion, evidence, against)]),
  ) as Record<EmpathyCriterion, EmpathyLevel>;
  const safety = safetyGate(question, answer, compiled);
  return {
    levels,
    score: safety.pass ? rubricScore(levels) : 0,
    evidence,
    against,
    form: formGate(answer, compiled),
    safety,
  };
}
