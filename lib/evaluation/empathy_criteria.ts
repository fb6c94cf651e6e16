/**
 * How each criterion of the rubric reads a sentence.
 *
 * @module
 */
import { affirmedCue, hasCue, mask } from "./cue_search.ts";
import type { CompiledLexicon } from "./empathy_lexicon.ts";
import type { EmpathyLevel } from "./rubric.ts";
import { isSpecific, type ReadAnswer, type ReadSentence } from "./sentence_reading.ts";

/** The level that one sentence gives, and the words that gave it. */
export interface Finding {
  readonly level: EmpathyLevel;
  readonly cue: string;
  /** The counsellor's own feeling: an answer that also understands ties it to the person. */
  readonly own?: boolean;
}

/** Reads a sentence for one criterion; undefined when it says nothing to it. */
type Reading = (
  sentence: ReadSentence,
  answer: ReadAnswer,
  lexicon: CompiledLexicon,
) => Finding | undefined;

/** Content words, feelings included, that make a statement specific in a grounded answer. */
const ENOUGH_STATEMENT = 3;
/** The same for what is said to be felt: the marker itself already carries part of it. */
const ENOUGH_INFERENCE = 2;
/** Words up to which a question may ask for a bare fact. */
const SHORT_QUESTION = 4;
/** Words from which a step counts as spelt out. */
const LONG_STEP = 5;
/** Words from which a picture of an experience counts as one. */
const LONG_PICTURE = 5;
/** Words from which an inference counts as spelt out. */
const LONG_STATEMENT = 8;

/** A cue in which someone feels something; other cues judge the situation. */
const OWN_FEELING = /(?:লাগছে|লাগল|লেগেছে|হচ্ছে|পেলাম|পাচ্ছি)$/u;

/** A proposed step that leaves the choice: "চাইলে … বলতে পারেন", "… বললে হালকা লাগবে". */
function stepCue(sentence: ReadSentence, lexicon: CompiledLexicon): string | undefined {
  const step = affirmedCue(sentence.key, lexicon.support.steps, lexicon);
  return step === undefined || /^(?:(?:হতে|থাকতে|আসতে) পার|বোঝা )/u.test(step) ? undefined : step;
}

/** Emotional reaction: concern or shared joy; 2 when tied to this situation. */
export const readReaction: Reading = (sentence, answer, lexicon) => {
  const { strong, hearing, weak, not } = lexicon.reaction;
  const key = mask(sentence.key, not);
  const cue = affirmedCue(key, strong, lexicon);
  if (cue !== undefined) {
    const answers = hasCue(sentence.key, hearing) || !OWN_FEELING.test(cue);
    const specific = answers && isSpecific(sentence, answer, ENOUGH_STATEMENT);
    return { level: specific ? 2 : 1, cue, own: !sentence.question };
  }
  const light = affirmedCue(key, weak, lexicon);
  return light === undefined ? undefined : { level: 1, cue: light };
};

/** Interpretation: understanding; 2 when it infers something of this situation. */
export const readInterpretation: Reading = (sentence, answer, lexicon) => {
  if (sentence.question || stepCue(sentence, lexicon) !== undefined) return undefined;
  const { understanding, inference, felt, experience, weak, not } = lexicon.interpretation;
  const key = mask(sentence.key, not);
  const pictured = sentence.words >= LONG_PICTURE
    ? affirmedCue(key, experience, lexicon)
    : undefined;
  const names = sentence.newFeelings > 0 && !answer.elsewhere;
  if (pictured !== undefined) return { level: 2, cue: pictured };
  const inferred = affirmedCue(key, inference, lexicon);
  if (inferred !== undefined && (sentence.feelings > 0 || hasCue(key, felt))) {
    const long = answer.grounded && sentence.informative > 0 && sentence.words >= LONG_STATEMENT;
    const specific = names || long ||
      isSpecific(sentence, answer, ENOUGH_INFERENCE);
    return { level: specific ? 2 : 1, cue: inferred };
  }
  const understood = affirmedCue(key, understanding, lexicon);
  if (understood !== undefined) {
    return { level: names ? 2 : 1, cue: understood };
  }
  const light = affirmedCue(key, weak, lexicon);
  return light === undefined ? undefined : { level: 1, cue: light };
};

/**
 * Whether a question could not be put to just anyone: it names something of the situation, or, where
 * nothing in it belongs to another part of life, something definite.
 */
function asksOfThis(sentence: ReadSentence, answer: ReadAnswer, lexicon: CompiledLexicon): boolean {
  if (sentence.shared > 0 || sentence.related > 0) return true;
  if (sentence.foreign > 0 && !answer.grounded) return false;
  const generic = hasCue(sentence.key, lexicon.exploration.generic);
  if (answer.grounded && !generic) return sentence.informative > 0 || sentence.words >= 5;
  return sentence.informative >= ENOUGH_STATEMENT;
}

/** Exploration: a question to the person; 2 when it asks about this situation. */
export const readExploration: Reading = (sentence, answer, lexicon) => {
  const lists = lexicon.exploration;
  if (hasCue(sentence.key, lists.rhetorical)) return undefined;
  if (sentence.question) {
    const short = sentence.words <= SHORT_QUESTION;
    if (short && hasCue(sentence.key, lists.factual)) return undefined;
    if (hasCue(sentence.key, lists.closed)) return { level: 1, cue: "?" };
    const opens = !short && !answer.elsewhere &&
      hasCue(sentence.key, lists.opening);
    return { level: opens || asksOfThis(sentence, answer, lexicon) ? 2 : 1, cue: "?" };
  }
  const definite = affirmedCue(sentence.key, lists.specificInvitations, lexicon);
  if (definite !== undefined) return { level: 2, cue: definite };
  const invitation = affirmedCue(sentence.key, lists.invitations, lexicon);
  return invitation === undefined ? undefined : { level: 1, cue: invitation };
};

/** Support: comfort or vague advice is 1; a fitting step that leaves the choice is 2. */
export const readSupport: Reading = (sentence, answer, lexicon) => {
  const lists = lexicon.support;
  if (affirmedCue(sentence.key, lists.against, lexicon) !== undefined) return undefined;
  const presence = affirmedCue(sentence.key, lists.presence, lexicon);
  if (presence !== undefined) return { level: 1, cue: presence };
  const step = stepCue(sentence, lexicon);
  if (step !== undefined && (!sentence.question || /(?:^| )কি $/u.test(`${step} `))) {
    const fitting = hasCue(sentence.key, lists.actions) ||
      (sentence.words >= LONG_STEP && !answer.elsewhere) ||
      isSpecific(sentence, answer, ENOUGH_STATEMENT);
    return { level: fitting ? 2 : 1, cue: step };
  }
  const cue = affirmedCue(sentence.key, lists.weak, lexicon);
  return cue === undefined ? undefined : { level: 1, cue };
};
