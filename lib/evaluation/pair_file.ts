/**
 * Answers of any system beside their references, from a JSON Lines file.
 *
 * @module
 */
import { z } from "zod";
import { closest } from "@lib/closest.ts";
import { decodeUtf8 } from "@lib/corpus/encoding.ts";

/** One line: an answer, what it is held against, and what it answers. */
export const Pair = z.strictObject({
  hypothesis: z.string(),
  reference: z.string(),
  /** The question; the empathy proxy needs it to tell a specific answer from a generic one. */
  prompt: z.string().optional(),
  /** Lines of one group are drawn together by the bootstrap. */
  group: z.union([z.string(), z.number()]).optional(),
  /** Which system answered; several systems in one file are compared. */
  system: z.string().min(1).optional(),
  /** Names the item, so that systems can be matched by it. */
  id: z.union([z.string(), z.number()]).optional(),
});
export type Pair = z.infer<typeof Pair>;

/** A file of pairs that cannot be used; the message lists every bad line. */
export class PairFileError extends Error {
  override readonly name = "PairFileError";
}

const FIELDS = Object.keys(Pair.shape);
/** Bad lines told one by one; the rest are counted. */
const TOLD = 20;
const REMEDY =
  `Each line is one JSON object with "hypothesis" and "reference" (texts) and, where ` +
  `they are known, "prompt", "group", "system" and "id".`;

function explain(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const guess = closest(key, FIELDS);
      return `unknown field "${key}"${guess === null ? "" : `, did you mean "${guess}"?`}`;
    }).join(", ");
  }
  const where = issue.path.join(".");
  return where === "" ? issue.message : `${where}: ${issue.message}`;
}

/** The pair of a line, or what is wrong with it. */
function readLine(line: string): Pair | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return `not JSON (${error instanceof Error ? error.message : error})`;
  }
  const parsed = Pair.safeParse(value);
  return parsed.success ? parsed.data : parsed.error.issues.map(explain).join("; ");
}

/**
 * Parses JSON Lines of pairs; empty lines are passed over.
 *
 * @param source the file's name, for errors
 * @throws {PairFileError} no line, or bad lines, each with its number
 *
 * @example
 * ```ts
 * import { parsePairs } from "@lib/evaluation/pair_file.ts";
 * import { assertEquals } from "@std/assert";
 * const pairs = parsePairs('{"hypothesis":"শুনছি।","reference":"বলুন।"}\n', "answers.jsonl");
 * assertEquals(pairs[0]?.reference, "বলুন।");
 * ```
 */
export function parsePairs(text: string, source: string): Pair[] {
  const problems: string[] = [];
  const pairs: Pair[] = [];
  text.split("\n").forEach((line, i) => {
    if (line.trim() === "") return;
    const read = readLine(line);
    if (typeof read === "string") problems.push(`line ${i + 1}: ${read}`);
    else pairs.push(read);
  });
  if (problems.length > 0) {
    const rest = problems.length > TOLD ? [`and ${problems.length - TOLD} more bad lines`] : [];
    throw new PairFileError(
      `${source} cannot be scored:\n${[...problems.slice(0, TOLD), ...rest].join("\n")}\n${REMEDY}`,
    );
  }
  if (pairs.length === 0) {
    throw new PairFileError(`${source}: expected at least one line, found none. ${REMEDY}`);
  }
  return pairs;
}

/**
 * Reads a file of pairs.
 *
 * @throws {PairFileError} missing, empty, or with bad lines
 * @throws {CorpusError} not UTF-8
 */
export async function loadPairs(path: string): Promise<Pair[]> {
  try {
    return parsePairs(decodeUtf8(await Deno.readFile(path), path), path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new PairFileError(`${path}: expected a JSON Lines file, found nothing. ${REMEDY}`);
  }
}
