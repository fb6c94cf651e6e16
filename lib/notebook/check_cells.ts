/**
 * Type-checks and lints every cell of notebooks, as `deno check` and `deno lint` do with files.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { z } from "zod";
import type { CellProblem } from "./cell_syntax.ts";
import { joinCells, type NotebookModule } from "./cells.ts";
import { cellTags, loadNotebook, type Notebook } from "./notebook_file.ts";
import { findRoot } from "./setup.ts";

/** Options of {@linkcode checkNotebooks}. */
export interface CheckNotebooksOptions {
  /** Folder of `deno.json`. @default the nearest one upwards of the working folder */
  readonly root?: string;
  /** Lints the cells too. @default {true} */
  readonly lint?: boolean;
}

/** A joined notebook on disk. */
interface WrittenModule {
  readonly notebook: string;
  readonly file: string;
  readonly module: NotebookModule;
  /** Number of the cell tagged `parameters` among the code cells; 0 without one. */
  readonly parametersCell: number;
}

/** A diagnostic of Deno's before it is traced to its cell. */
interface Diagnostic {
  readonly url: string;
  readonly line: number;
  readonly column: number;
  readonly code: string;
  readonly message: string;
}

/** Rules for files that do not fit cells: one may declare a function again, none is compiled alone. */
const FILE_RULES: ReadonlySet<string> = new Set([
  "no-inner-declarations",
  "verbatim-module-syntax",
]);

const lintReport = z.object({
  diagnostics: z.array(z.object({
    filename: z.string(),
    range: z.object({ start: z.object({ line: z.int(), col: z.int() }) }),
    message: z.string(),
    code: z.string(),
    hint: z.string().nullish(),
  })),
  errors: z.array(z.unknown()),
});

async function runDeno(
  args: readonly string[],
  cwd: string,
): Promise<{ ok: boolean; out: string; err: string }> {
  const output = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return {
    ok: output.success,
    out: decoder.decode(output.stdout),
    err: decoder.decode(output.stderr),
  };
}

/** Reads the diagnostics out of `deno check`'s text: each ends with its place, `at file:…:3:8`. */
function parseCheck(text: string): readonly Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  let message: string[] = [];
  for (const line of text.split("\n")) {
    const place = line.match(/^\s+at (file:\S+):(\d+):(\d+)$/);
    if (!place) {
      if (/^(TS\d+ )?\[?(ERROR|error)\b/.test(line)) message = [line];
      else if (line.trim() && !/^(Check|Download|Found \d+ errors?)/.test(line)) message.push(line);
      continue;
    }
    const [head = "", ...rest] = message;
    const [, code = "TS", said = head] = head.match(/^(TS\d+) \[ERROR\]: (.*)$/) ?? [];
    const detail = rest.filter((part) => /^\s{2,}\S/.test(part) && !/^\s*~+|^\s*\^/.test(part));
    diagnostics.push({
      url: place[1] ?? "",
      line: Number(place[2]),
      column: Number(place[3]),
      code,
      message: [said.replace(/^error: /, ""), ...detail.map((part) => part.trim())].join(" "),
    });
    message = [];
  }
  return diagnostics;
}

async function checkTypes(files: readonly string[], root: string): Promise<readonly Diagnostic[]> {
  const args = ["check", "--config", join(root, "deno.json"), ...files];
  const { ok, out, err } = await runDeno(args, root);
  const diagnostics = parseCheck(err + out);
  if (ok || diagnostics.length > 0) return diagnostics;
  throw new Error(`Cannot type-check the notebooks: deno check says\n${err}${out}`);
}

async function lintAll(files: readonly string[], root: string): Promise<readonly Diagnostic[]> {
  const args = ["lint", "--json", "--config", join(root, "deno.json"), ...files];
  const { out, err } = await runDeno(args, root);
  let report: z.output<typeof lintReport>;
  try {
    report = lintReport.parse(JSON.parse(out));
  } catch (cause) {
    throw new Error(`Cannot lint the notebooks: deno lint says\n${err}${out}`, { cause });
  }
  return report.diagnostics.filter(({ code }) => !FILE_RULES.has(code)).map((found) => ({
    url: found.filename,
    line: found.range.start.line,
    column: found.range.start.col + 1,
    code: found.code,
    message: found.hint ? `${found.message} (${found.hint})` : found.message,
  }));
}

/** Traces a diagnostic to its cell; one in a file of the library keeps that file's name. */
function trace(diagnostic: Diagnostic, modules: readonly WrittenModule[]): CellProblem {
  const { url, line, column, code, message } = diagnostic;
  const written = modules.find(({ file }) => pathToFileURL(file).href === url);
  const place = written?.module.places[line - 1];
  return {
    notebook: written?.notebook ?? fileURLToPath(url),
    cell: place?.cell ?? 0,
    line: place?.line ?? line,
    column,
    code,
    message,
  };
}

function parametersCell(notebook: Notebook): number {
  const code = notebook.cells.filter(({ cell_type }) => cell_type === "code");
  return code.findIndex((cell) => cellTags(cell).includes("parameters")) + 1;
}

/** The runner assigns what the parameters cell declares with `let`. */
function isParameter(problem: CellProblem, modules: readonly WrittenModule[]): boolean {
  const written = modules.find(({ notebook }) => notebook === problem.notebook);
  return problem.code === "prefer-const" && problem.cell > 0 &&
    problem.cell === written?.parametersCell;
}

/**
 * Checks the code cells of notebooks: syntax, what the kernel refuses, types, lint.
 *
 * @returns every problem, in the notebooks' order; none where all is well
 * @throws {Error} where a notebook cannot be read or Deno cannot run
 */
export async function checkNotebooks(
  paths: readonly string[],
  options: CheckNotebooksOptions = {},
): Promise<readonly CellProblem[]> {
  if (paths.length === 0) return [];
  const root = resolve(options.root ?? await findRoot());
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "notebook-cells-" }));
  try {
    const modules: WrittenModule[] = [];
    for (const [at, notebook] of paths.entries()) {
      const loaded = await loadNotebook(notebook);
      const module = await joinCells(loaded, notebook);
      const file = join(folder, `notebook_${at}.ts`);
      await Deno.writeTextFile(file, module.source);
      modules.push({ notebook, file, module, parametersCell: parametersCell(loaded) });
    }
    const files = modules.map(({ file }) => file);
    const types = await checkTypes(files, root);
    const lints = options.lint === false ? [] : await lintAll(files, root);
    const traced = [...types, ...lints].map((diagnostic) => trace(diagnostic, modules))
      .filter((problem) => !isParameter(problem, modules));
    const all = [...modules.flatMap(({ module }) => module.problems), ...traced];
    const order = (problem: CellProblem) => paths.indexOf(problem.notebook);
    return all.toSorted((a, b) => order(a) - order(b) || a.cell - b.cell || a.line - b.line);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A problem as one line: `notebooks/01_clean.ipynb:3:2:7 TS2305 Module … has no …`. */
export function formatProblem(
  { notebook, cell, line, column, code, message }: CellProblem,
): string {
  return `${notebook}:${cell}:${line}:${column} ${code} ${message}`;
}
