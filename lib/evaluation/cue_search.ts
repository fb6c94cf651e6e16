/**
 * Finding cues in a sentence's key: outside masked stretches, and not denied.
 *
 * @module
 */
import type { CompiledLexicon, Cues } from "./empathy_lexicon.ts";

/** Blanks every stretch that a list matches, so that no cue is found in it. */
export function mask(key: string, cues: Cues): string {
  return key.replace(cues, (found) => found.replace(/[^ ]+/gu, "_"));
}

/** Whether any pattern matches. */
export function hasCue(key: string, cues: Cues): boolean {
  return key.search(cues) >= 0;
}

/**
 * The first cue that is not denied ("সাহায্য করতে পারব না", "বুঝিনি"), as found in the key; undefined
 * without one. A negator inside the pattern itself ("চিন্তা করবেন না") denies nothing.
 */
export function affirmedCue(
  key: string,
  cues: Cues,
  lexicon: CompiledLexicon,
): string | undefined {
  for (const found of key.matchAll(cues)) {
    const cue = found[0];
    const after = key.slice(found.index + cue.length);
    if (lexicon.denial.test(after) || /[\p{L}\p{M}](?:িনি|েনি|য়নি|ইনি) $/u.test(cue)) continue;
    return cue.trim();
  }
  return undefined;
}
