/** Prompts from a file: text, CSV, JSON Lines or JSON. */
// @ts-types="../corpus/std_csv.d.ts"
import { parse } from "@std/csv";
import { z } from "zod";
import { closest } from "@lib/closest.ts";
import { decodeUtf8 } from "@lib/corpus/encoding.ts";
import { FileReadError } from "@lib/files.ts";

/** Names a prompt's column or field may have, the first found is taken. */
const FIELDS = ["prompt", "question", "questions", "text", "input"] as const;

/** One prompt of a JSON file: the text itself, or an object with one of {@linkcode FIELDS}. */
const Item = z.union([z.string(), z.record(z.string(), z.unknown())]);
const PromptJson = z.union([
  z.array(Item),
  z.strictObject({ about: z.string().optional(), prompts: z.array(Item) }),
]);

/** The value of the first known field, or undefined. */
function fieldOf(item: z.infer<typeof Item>): string | undefined {
  if (typeof item === "string") return item;
  const byName = new Map(Object.entries(item).map(([name, value]) => [name.toLowerCase(), value]));
  const value = FIELDS.map((name) => byName.get(name)).find((found) => found !== undefined);
  return typeof value === "string" ? value : undefined;
}

function fromJson(text: string): (string | undefined)[] {
  const parsed = PromptJson.safeParse(JSON.parse(text));
  if (!parsed.success) throw new Error(z.prettifyError(parsed.error));
  return (Array.isArray(parsed.data) ? parsed.data : parsed.data.prompts).map(fieldOf);
}

function fromJsonLines(text: string): (string | undefined)[] {
  return text.split("\n").filter((line) => line.trim() !== "").map((line, i) => {
    try {
      return fieldOf(Item.parse(JSON.parse(line)));
    } catch {
      throw new Error(`line ${i + 1} is no JSON string or object`);
    }
  });
}

function fromCsv(text: string): string[] {
  const rows = parse(text);
  const header = (rows[0] ?? []).map((name) => name.trim().toLowerCase());
  const wide = rows.findIndex((row) => row.length > header.length);
  if (wide >= 0) {
    throw new Error(
      `row ${wide + 1} has ${rows[wide]?.length} fields, the first has ${header.length}; put a ` +
        "field that contains a comma in quotes",
    );
  }
  const at = FIELDS.map((name) => header.indexOf(name)).find((column) => column >= 0);
  if (at !== undefined) return rows.slice(1).map((row) => row[at] ?? "");
  if (header.length === 1) return rows.map(([only = ""]) => only);
  const near = header.map((name) => closest(name, FIELDS)).find((name) => name !== null);
  throw new Error(
    `expected a column ${FIELDS.join(", ")}, found ${header.join(", ")}` +
      (near === undefined ? "" : `; did you mean '${near}'?`),
  );
}

const READERS: Readonly<Record<string, (text: string) => (string | undefined)[]>> = {
  txt: (text) => text.split("\n").filter((line) => line.trim() !== ""),
  csv: fromCsv,
  jsonl: fromJsonLines,
  json: fromJson,
};

/**
 * Prompts of a file's text.
 *
 * @param name the file's: its ending says how to read it: `.txt` (one a line), `.csv` (a column
 * `prompt`, `question` or `text`, or one column alone), `.jsonl` (strings, or objects with such a
 * field), `.json` (a list of those, or `{"prompts": …}`)
 * @returns without the space around them, in the file's order
 * @throws {FileReadError} naming the file and the prompt that is none
 *
 * @example
 * ```ts
 * import { parsePrompts } from "@lib/generation/prompt_file.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parsePrompts("id,question\n1,কেমন আছেন?\n", "a.csv"), ["কেমন আছেন?"]);
 * ```
 */
export function parsePrompts(text: string, name: string): string[] {
  const ending = /\.([^.]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";
  const read = READERS[ending];
  const refuse = (problem: string): never => {
    throw new FileReadError(`Cannot read prompts from ${name}: ${problem}.`);
  };
  if (read === undefined) {
    return refuse(`expected a file named .${Object.keys(READERS).join(", .")}`);
  }
  let found: (string | undefined)[];
  try {
    found = read(text);
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
  const prompts = found.map((prompt, i) => {
    if (prompt === undefined) return refuse(`prompt ${i + 1} has no field ${FIELDS.join(", ")}`);
    if (prompt.trim() === "") return refuse(`prompt ${i + 1} is empty`);
    if (!prompt.isWellFormed()) return refuse(`prompt ${i + 1} has a lone surrogate`);
    return prompt.trim();
  });
  return prompts.length > 0 ? prompts : refuse("it holds none");
}

/** Reads prompts. @throws {FileReadError | CorpusError} missing, not UTF-8, or no prompts */
export async function loadPrompts(path: string): Promise<string[]> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new FileReadError(`Cannot read prompts from ${path}: there is no such file.`);
  }
  return parsePrompts(decodeUtf8(bytes, path), path);
}
