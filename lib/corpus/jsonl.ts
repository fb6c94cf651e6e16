/**
 * Records on disk: JSON Lines, one record a line, UTF-8.
 *
 * @module
 */
import { z } from "zod";
import { writeFileAtomic } from "@lib/files.ts";
import { decodeUtf8 } from "./encoding.ts";
import { CorpusError } from "./errors.ts";

/** Read records, and what was tolerated. */
export interface LoadedRecords<T> {
  readonly records: readonly T[];
  /** A torn last line (a write was cut off), in words; absent when the file is whole. */
  readonly warning?: string;
}

/**
 * Write records as JSON Lines, atomically.
 *
 * @throws {FileWriteError} when the disk is full or the folder cannot be written; an earlier file
 * stays.
 */
export async function saveRecords(path: string, records: readonly unknown[]): Promise<void> {
  await writeFileAtomic(path, records.map((record) => JSON.stringify(record) + "\n").join(""));
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/**
 * Parse JSON Lines with a schema. A last line without its line feed that is not whole JSON is left
 * out with a warning; any other bad line is an error.
 *
 * @throws {CorpusError} naming the line and the field.
 * @example
 * ```ts
 * import { parseRecords } from "@lib/corpus/jsonl.ts";
 * import { assertEquals } from "@std/assert";
 * import { z } from "zod";
 * const { records, warning } = parseRecords('{"row":1}\n{"ro', z.strictObject({ row: z.int() }), "a");
 * assertEquals(records, [{ row: 1 }]);
 * assertEquals(typeof warning, "string");
 * ```
 */
export function parseRecords<S extends z.ZodType>(
  text: string,
  schema: S,
  source: string,
): LoadedRecords<z.output<S>> {
  const lines = text.split("\n");
  const last = lines.pop() ?? "";
  const torn = last.trim() !== "" && parseLine(last) === undefined;
  if (last.trim() !== "" && !torn) lines.push(last);
  const records = lines.flatMap((line, i) => {
    if (line.trim() === "") return [];
    const value = parseLine(line);
    const result = schema.safeParse(value);
    if (result.success) return [result.data];
    const found = value === undefined ? "broken JSON" : z.prettifyError(result.error);
    throw new CorpusError(
      `Cannot read ${source}: expected a record in line ${i + 1}, found ${found}. ` +
        `Delete the file and run the notebook that writes it again.`,
    );
  });
  if (!torn) return { records };
  const warning = `${source}: the last line (${lines.length + 1}) is cut off and was left out. ` +
    `Run the notebook that writes the file again if the record matters.`;
  return { records, warning };
}

/**
 * Read JSON Lines with a schema.
 *
 * @throws {CorpusError} when the file is missing (naming what to run), not UTF-8 or has a bad line.
 */
export async function loadRecords<S extends z.ZodType>(
  path: string,
  schema: S,
): Promise<LoadedRecords<z.output<S>>> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new CorpusError(
      `Cannot read ${path}: there is no such file. Run the notebook (or task) before this one first.`,
      { cause },
    );
  }
  // A torn write may end inside a character: cut at the last line feed before decoding strictly.
  const lastBreak = bytes.lastIndexOf(0x0a) + 1;
  const whole = decodeUtf8(bytes.subarray(0, lastBreak), path);
  const tail = new TextDecoder().decode(bytes.subarray(lastBreak));
  return parseRecords(whole + tail, schema, path);
}
