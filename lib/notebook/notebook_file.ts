/**
 * Notebook files: read, validated, and written as Jupyter writes them (nbformat 4.5).
 *
 * Source: https://nbformat.readthedocs.io/en/latest/format_description.html
 *
 * @module
 */
import { z } from "zod";

const multiline = z.union([z.string(), z.array(z.string())]).transform((text) =>
  typeof text === "string" ? text : text.join("")
);
// Metadata is open by nbformat's own definition: front ends keep their settings there.
const metadata = z.looseObject({});
const output = z.looseObject({ output_type: z.string() });
const cellBase = { id: z.string().optional(), metadata: metadata.default({}), source: multiline };

const codeCell = z.looseObject({
  ...cellBase,
  cell_type: z.literal("code"),
  execution_count: z.int().nullable().default(null),
  outputs: z.array(output).default([]),
});
const proseCell = z.looseObject({ ...cellBase, cell_type: z.enum(["markdown", "raw"]) });

const notebookSchema = z.looseObject({
  nbformat: z.literal(4),
  nbformat_minor: z.int(),
  metadata: metadata.default({}),
  cells: z.array(z.discriminatedUnion("cell_type", [codeCell, proseCell])),
});

/** One output of a code cell, as nbformat stores it. */
export type NotebookOutput = z.output<typeof output>;
/** A code cell; `source` is one string. */
export type CodeCell = z.output<typeof codeCell>;
/** A markdown or raw cell; `source` is one string. */
export type ProseCell = z.output<typeof proseCell>;
/** A whole notebook. */
export type Notebook = z.output<typeof notebookSchema>;

/** Tags of a cell, as front ends keep them in its metadata. */
export function cellTags(cell: CodeCell | ProseCell): readonly string[] {
  const { tags } = cell.metadata;
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : [];
}

/**
 * Reads a notebook.
 *
 * @throws {Error} naming the file and the key where it is not a notebook of nbformat 4.
 */
export async function loadNotebook(path: string): Promise<Notebook> {
  const text = await Deno.readTextFile(path).catch((error: unknown) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot open the notebook ${path}: there is no such file. Check the path.`);
  });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(
      `Cannot read the notebook ${path}: expected JSON, found ${
        error instanceof Error ? error.message : error
      }. Restore the file from version control.`,
    );
  }
  const parsed = notebookSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new Error(
    `Cannot read the notebook ${path}: expected nbformat 4, found\n${
      z.prettifyError(parsed.error)
    }\nOpen and save it in JupyterLab, or restore it from version control.`,
  );
}

/** Splits text after each newline: nbformat keeps long texts as arrays of lines. */
export function toLines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

/** Replacer for `JSON.stringify`: objects with their keys in order. */
function withSortedKeys(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1));
}

/**
 * The notebook as JSON text: ids on every cell, sources as lines, keys sorted and indented as
 * JupyterLab and VS Code do, so that saving it there unchanged leaves the file as it is.
 */
export function formatNotebook(notebook: Notebook): string {
  const seen = new Set<string>();
  const cells = notebook.cells.map((cell) => {
    let id = cell.id ?? "";
    if (!/^[a-zA-Z0-9-_]{1,64}$/.test(id) || seen.has(id)) id = crypto.randomUUID().slice(0, 8);
    seen.add(id);
    return { ...cell, id, source: toLines(cell.source) };
  });
  const minor = Math.max(5, notebook.nbformat_minor);
  return JSON.stringify({ ...notebook, nbformat_minor: minor, cells }, withSortedKeys, 1) + "\n";
}

/** Writes a notebook to a temporary name, then renames it: a reader never sees half a file. */
export async function saveNotebook(path: string, notebook: Notebook): Promise<void> {
  const part = `${path}.${Deno.pid}.part`;
  try {
    await Deno.writeTextFile(part, formatNotebook(notebook));
    await Deno.rename(part, path);
  } catch (error) {
    await Deno.remove(part).catch(() => {});
    throw new Error(
      `Cannot write the notebook ${path}: ${error instanceof Error ? error.message : error}. ` +
        `Is the folder there, writable, and the disk not full?`,
      { cause: error },
    );
  }
}
