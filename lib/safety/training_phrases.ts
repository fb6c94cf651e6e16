/**
 * The phrases that the classifier learns from: tab-separated lines `author class level text`, where
 * the level is one or a range such as `2-3`.
 *
 * @module
 */
import { readGzippedText } from "@lib/gzip.ts";
import { Phrase } from "./score.ts";

/** A phrase and which hand wrote it. */
export interface AuthoredPhrase extends Phrase {
  readonly author: string;
}

/**
 * Reads phrases from their text.
 *
 * @throws {TypeError} naming the line that is none
 * @example
 * ```ts
 * import { parseTrainingPhrases } from "@lib/safety/training_phrases.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parseTrainingPhrases("a\tdistress\t1-2\tকিছুই ভালো লাগে না\n"), [
 *   { author: "a", class: "distress", level: [1, 2], text: "কিছুই ভালো লাগে না" },
 * ]);
 * ```
 */
export function parseTrainingPhrases(text: string): AuthoredPhrase[] {
  return text.split("\n").flatMap((line, at) => {
    if (line === "") return [];
    const [author = "", kind, levels = "", words, ...more] = line.split("\t");
    const [least, most = least] = levels.split("-").map(Number);
    const parsed = Phrase.safeParse({ text: words, class: kind, level: [least, most] });
    if (author !== "" && more.length === 0 && parsed.success) return [{ author, ...parsed.data }];
    throw new TypeError(
      `Line ${at + 1}: expected author, class, level such as 2 or 2-3, and text, parted by tabs, ` +
        `found ${JSON.stringify(line.slice(0, 80))}.`,
    );
  });
}

/** Reads a file of phrases, gzipped or plain. @throws {TypeError} naming the line that is none */
export async function loadTrainingPhrases(path: string | URL): Promise<AuthoredPhrase[]> {
  return parseTrainingPhrases(await readGzippedText(path));
}
