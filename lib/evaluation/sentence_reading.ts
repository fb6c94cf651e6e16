/**
 * What the rubric needs to know about each sentence of an answer: its key, how it ties to the
 * question, whether it merely repeats it.
 *
 * @module
 */
import { contentStems, type Stemmer, stemmerOf } from "./bengali_stem.ts";
import type { CompiledLexicon } from "./empathy_lexicon.ts";
import { cueKey } from "./fold.ts";
import { type Sentence, sentencesOf } from "./sentences.ts";

/** One sentence of an answer, read against the question. */
export interface ReadSentence extends Sentence {
  readonly key: string;
  /** Content words of its own, feelings left out. */
  readonly own: number;
  /** Content words, feelings included. */
  readonly informative: number;
  /** Feelings that it names. */
  readonly feelings: number;
  /** Feelings in particular that the question does not name. */
  readonly newFeelings: number;
  /** Content words that the question has too. */
  readonly shared: number;
  /** Content words from a part of life that the question speaks of. */
  readonly related: number;
  /** Content words from parts of life that the question does not speak of. */
  readonly foreign: number;
  readonly words: number;
  /** Most of it stands in the question word for word, or it is a bare list of words. */
  readonly hollow: boolean;
}

/** An answer read against its question. */
export interface ReadAnswer {
  readonly sentences: readonly ReadSentence[];
  /** Some sentence shares a content word with the question, or two are related to it. */
  readonly grounded: boolean;
  /** It is not grounded, and some sentence is about a part of life the question does not speak of. */
  readonly elsewhere: boolean;
}

function trigrams(key: string): string[] {
  const words = key.split(" ").filter((word) => /\p{L}/u.test(word));
  return words.slice(2).map((_, i) => words.slice(i, i + 3).join(" "));
}

/** Whether at least 70 % of a sentence's word trigrams stand in the question. */
function echoes(key: string, questionGrams: ReadonlySet<string>): boolean {
  const grams = trigrams(key);
  return grams.length > 0 &&
    grams.filter((gram) => questionGrams.has(gram)).length >= 0.7 * grams.length;
}

/** Whether at least 60 % of five or more words come from the scorer's own vocabulary. */
function isWordList(key: string, stemmer: Stemmer): boolean {
  const words = key.split(" ").filter((word) => /\p{L}/u.test(word));
  return words.length >= 5 && words.filter(stemmer.isKeyword).length >= 0.6 * words.length;
}

/** Reads an answer sentence by sentence. */
export function readAnswer(
  question: string,
  answer: string,
  lexicon: CompiledLexicon,
): ReadAnswer {
  const stemmer = stemmerOf(lexicon);
  const questionKey = cueKey(question, lexicon.fold);
  const questionGrams = new Set(trigrams(questionKey));
  const questionStems = contentStems(questionKey, stemmer);
  const asked = [...questionStems].filter((stem) => !stemmer.isEmotion(stem));
  const askedStems = new Set(asked);
  const askedFields = new Set(asked.flatMap((stem) => stemmer.fieldsOf(stem)));
  const sentences = sentencesOf(answer).map((sentence): ReadSentence => {
    const key = cueKey(sentence.text, lexicon.fold);
    const stems = [...contentStems(key, stemmer)];
    const own = stems.filter((stem) => !stemmer.isEmotion(stem));
    const feelings = stems.filter((stem) => stemmer.isEmotion(stem));
    const fielded = own.filter((stem) =>
      !askedStems.has(stem) && stemmer.fieldsOf(stem).length > 0
    );
    const related = fielded.filter((stem) =>
      stemmer.fieldsOf(stem).some((field) => askedFields.has(field))
    );
    return {
      ...sentence,
      key,
      own: own.length,
      informative: stems.length,
      feelings: feelings.length,
      newFeelings: feelings.filter((stem) =>
        !stemmer.isVague(stem) && !questionStems.has(stem)
      ).length,
      shared: own.filter((stem) => askedStems.has(stem)).length,
      related: related.length,
      foreign: fielded.length - related.length,
      words: key.split(" ").filter((word) => /\p{L}/u.test(word)).length,
      hollow: echoes(key, questionGrams) || isWordList(key, stemmer),
    };
  });
  const solid = sentences.filter((sentence) => !sentence.hollow);
  const related = solid.reduce((sum, sentence) => sum + sentence.related, 0);
  const grounded = solid.some((sentence) => sentence.shared > 0) || related >= 2;
  return {
    sentences,
    grounded,
    elsewhere: !grounded && solid.some((sentence) => sentence.foreign > 0),
  };
}

/**
 * Whether a sentence speaks of this situation: it shares a word with the question; or it is related
 * to it and says something of its own; or, in an answer that is about the question at all, it says
 * enough of its own.
 */
export function isSpecific(sentence: ReadSentence, answer: ReadAnswer, enough: number): boolean {
  return sentence.shared > 0 || (sentence.related > 0 && sentence.own >= 2) ||
    (answer.grounded && sentence.informative >= enough);
}
