/**
 * Stems of folded Bengali words: good enough to see that চাকরিটা and চাকরির are one word, and that
 * হারিয়েছি and হারানো are.
 *
 * Verbs are recognised first, and only by known roots with known endings: stripping endings from
 * unknown words as if they were verbs makes nouns collide. Nouns lose case, number and article
 * endings and the emphatic -ই -ও, as long as enough of the word stays.
 *
 * @module
 */
import type { CompiledLexicon } from "./empathy_lexicon.ts";

/** What is known about words, for one lexicon. */
export interface Stemmer {
  /** Stem of a folded word. */
  readonly stem: (word: string) => string;
  /** Whether a folded word is too common to mean anything by itself. */
  readonly isStop: (word: string) => boolean;
  readonly isEmotion: (stem: string) => boolean;
  /** Whether a feeling names nothing in particular. */
  readonly isVague: (stem: string) => boolean;
  readonly isKeyword: (word: string) => boolean;
  /** The parts of life a stem belongs to. */
  readonly fieldsOf: (stem: string) => readonly string[];
}

/** Letters that must remain when an ending is taken off. */
const LEAST = 2;

function conjugated(roots: readonly string[], endings: readonly string[]): string[] {
  return roots.flatMap((root) => endings.map((ending) => root + ending));
}

/** Strips noun endings, longest first, until none fits. */
function nounStem(word: string, endings: readonly string[]): string {
  let stem = word;
  for (;;) {
    const ending = endings.find((one) => stem.endsWith(one) && mayStrip(stem, one));
    if (ending === undefined) return stem;
    stem = stem.slice(0, -ending.length);
  }
}

function mayStrip(word: string, ending: string): boolean {
  const rest = word.slice(0, -ending.length);
  const letters = rest.match(/\p{L}/gu)?.length ?? 0;
  // Of one letter only with its vowel, and only before endings that nothing else looks like: মা, মে.
  const short = /^(?:য়.+|কে|কেই|কেও|দের|রা|র)$/u.test(ending) && letters === 1 &&
    /\p{M}$/u.test(rest);
  if (letters < LEAST && !short) return false;
  if (rest.endsWith("্")) return false;
  // -র, -রা, -য়, -য়ের follow a vowel; after a consonant the genitive is -ের.
  if (/^(?:র|রই|রও|রা|ই|ও|য়.*)$/u.test(ending)) {
    return /[\u09be-\u09cc\u0985-\u0994]$|য়$/u.test(rest);
  }
  return true;
}

const stemmers = new WeakMap<CompiledLexicon, Stemmer>();

/** The stemmer of a lexicon; made once. */
export function stemmerOf(lexicon: CompiledLexicon): Stemmer {
  const known = stemmers.get(lexicon);
  if (known !== undefined) return known;
  const { fold, source: { words } } = lexicon;
  const endings = words.verbEndings.map(fold);
  const nounEndings = words.nounEndings.map(fold).sort((a, b) => b.length - a.length);
  const verbs = new Map<string, string>();
  for (const [root, stems] of Object.entries(words.verbs)) {
    for (const form of conjugated(stems.map(fold), endings)) verbs.set(form, fold(root));
  }
  const light = new Set(conjugated(words.lightVerbs.map(fold), endings));
  const stop = new Set(words.stop.map(fold));
  const keywords = new Set(words.keywords.map(fold));
  const cache = new Map<string, string>();
  const stem = (word: string): string => {
    let found = cache.get(word);
    if (found === undefined) {
      found = verbs.get(word) ?? nounStem(word, nounEndings);
      if (cache.size < 100_000) cache.set(word, found);
    }
    return found;
  };
  const emotions = new Set(words.emotions.flatMap((one) => [fold(one), stem(fold(one))]));
  const vague = new Set(words.vagueEmotions.flatMap((one) => [fold(one), stem(fold(one))]));
  const fields = new Map<string, string[]>();
  for (const [field, list] of Object.entries(words.fields)) {
    for (const one of new Set(list.map((w) => stem(fold(w))))) {
      fields.set(one, [...fields.get(one) ?? [], field]);
    }
  }
  const made: Stemmer = {
    stem,
    isStop: (word) => stop.has(word) || light.has(word) || stop.has(stem(word)),
    isEmotion: (one) => emotions.has(one),
    isVague: (one) => vague.has(one),
    isKeyword: (word) => keywords.has(word) || emotions.has(stem(word)),
    fieldsOf: (one) => fields.get(one) ?? [],
  };
  stemmers.set(lexicon, made);
  return made;
}

/** Distinct stems of a key's content words: no stop words, no light verbs, no numbers. */
export function contentStems(key: string, stemmer: Stemmer): Set<string> {
  const stems = new Set<string>();
  for (const word of key.split(" ")) {
    if (!/^\p{L}[\p{L}\p{M}]+$/u.test(word) || stemmer.isStop(word)) continue;
    stems.add(stemmer.stem(word));
  }
  return stems;
}
