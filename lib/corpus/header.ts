/**
 * The corpus CSV's columns and the spellings of their names that are accepted.
 *
 * @module
 */
import { CorpusError } from "./errors.ts";

/** The four columns as the real file spells them. */
export const CSV_COLUMNS = ["Topics", "Question-Title", "Questions", "Answers"] as const;

/** A column's name in records. */
export type Field = "topic" | "title" | "question" | "answer";

const ALIASES: Readonly<Record<Field, readonly string[]>> = {
  topic: ["topics", "topic", "emotion", "emotions", "label"],
  title: ["questiontitle", "questiontitles", "questionstitle", "title", "titles"],
  question: ["questions", "question"],
  answer: ["answers", "answer"],
};

const EXPECTED: Readonly<Record<Field, string>> = {
  topic: CSV_COLUMNS[0],
  title: CSV_COLUMNS[1],
  question: CSV_COLUMNS[2],
  answer: CSV_COLUMNS[3],
};

/** Where each field stands in a row, and columns that are there but not used. */
export interface Header {
  readonly index: Readonly<Record<Field, number>>;
  readonly width: number;
  readonly ignored: readonly string[];
}

/** Lower case, without spaces, hyphens, underscores and invisible characters. */
function plainName(name: string): string {
  return name.toLowerCase().replace(/[\s\-_\p{Cf}]/gu, "");
}

/**
 * Find the four columns in a header row by name or alias, in any order and case.
 *
 * @throws {CorpusError} naming a missing column or two columns that mean the same field.
 * @example
 * ```ts
 * import { resolveHeader } from "@lib/corpus/header.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(resolveHeader(["Answer", "Topic", "question title", "Question"], "a.csv").index, {
 *   topic: 1,
 *   title: 2,
 *   question: 3,
 *   answer: 0,
 * });
 * ```
 */
export function resolveHeader(names: readonly string[], source: string): Header {
  const index: Partial<Record<Field, number>> = {};
  const ignored: string[] = [];
  const fields = Object.keys(ALIASES) as Field[];
  names.forEach((name, i) => {
    const field = fields.find((f) => ALIASES[f].includes(plainName(name)));
    if (field === undefined) {
      if (name.trim() !== "") ignored.push(name.trim());
      return;
    }
    const earlier = index[field];
    if (earlier !== undefined) {
      throw new CorpusError(
        `Cannot read ${source}: expected one column "${EXPECTED[field]}", found two: column ` +
          `${earlier + 1} "${names[earlier]}" and column ${i + 1} "${name}". Remove or rename one.`,
      );
    }
    index[field] = i;
  });
  const missing = fields.filter((f) => index[f] === undefined);
  const { topic, title, question, answer } = index;
  if (
    topic === undefined || title === undefined || question === undefined || answer === undefined
  ) {
    throw new CorpusError(
      `Cannot read ${source}: expected the columns ${CSV_COLUMNS.join(", ")}, found ` +
        `${names.map((n) => `"${n}"`).join(", ")}; missing ` +
        `${missing.map((f) => `"${EXPECTED[f]}"`).join(", ")}. ` +
        `Rename the column in the file's first line, or choose the right file.`,
    );
  }
  return { index: { topic, title, question, answer }, width: names.length, ignored };
}
