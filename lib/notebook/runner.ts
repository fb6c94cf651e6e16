/**
 * Runs a notebook headless on the real Deno kernel and writes it back executed.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { type CellEvent, printCellEvent } from "./cell_events.ts";
import { type CellRun, runCell } from "./cell_run.ts";
import { KernelClient } from "./kernel/client.ts";
import { type CodeCell, loadNotebook, type Notebook, saveNotebook } from "./notebook_file.ts";
import { DENO_METADATA } from "./kernel_spec.ts";
import { injectParameters, type ParameterValue } from "./parameters.ts";
import { reapOnExit } from "./reap.ts";

export { type CellEvent, printCellEvent };

/** Options of {@linkcode runNotebook}. */
export interface RunNotebookOptions {
  /** Where the executed notebook goes; its folder is made. @default the notebook itself */
  readonly output?: string;
  /** Values for names declared in the cell tagged `parameters`. */
  readonly parameters?: Readonly<Record<string, ParameterValue>>;
  /** Variables added to the kernel's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The kernel's working folder. @default the notebook's folder, as in JupyterLab */
  readonly cwd?: string;
  /** Hears of every code cell. @default {printCellEvent} */
  readonly onCell?: (event: CellEvent) => void;
  /** Milliseconds that one cell may take. @default unlimited */
  readonly timeoutMs?: number;
  /**
   * Goes on behind a cell that throws, as JupyterLab's queued cells do: its error stays among its
   * outputs. A lost kernel and a stopped run end it all the same. @default {false}
   */
  readonly keepGoing?: boolean;
  /** Stops the run: the cell is interrupted, what has run is written, the promise rejects. */
  readonly signal?: AbortSignal;
  /** Deno executable. @default {Deno.execPath()} */
  readonly deno?: string;
}

/** What a finished run gives back. */
export interface NotebookRun {
  readonly output: string;
  readonly cells: number;
  readonly seconds: number;
  readonly notebook: Notebook;
}

/** A cell failed: which one, what it says, where the executed notebook lies. */
export class NotebookRunError extends Error {
  override readonly name = "NotebookRunError";

  constructor(
    message: string,
    readonly notebook: string,
    /** Number of the code cell, from 1. */
    readonly cell: number,
    readonly output: string,
  ) {
    super(message);
  }
}

const firstLine = (source: string): string =>
  source.split("\n").find((line) => line.trim() !== "")?.trim().slice(0, 80) ?? "(empty)";

function describe(path: string, number: number, cell: CodeCell, text: string, output: string) {
  const lines = cell.source.split("\n");
  const excerpt = lines.slice(0, 12).map((line, at) => `${String(at + 1).padStart(5)} | ${line}`);
  if (lines.length > 12) excerpt.push(`      | … ${lines.length - 12} more lines`);
  return `The notebook ${path} failed in code cell ${number}:\n${text}\n\n` +
    `${excerpt.join("\n")}\n\nThe notebook as far as it ran: ${output}`;
}

const isCode = (cell: Notebook["cells"][number]): cell is CodeCell => cell.cell_type === "code";
const isInjected = (cell: CodeCell) => cell.id === "injected-parameters";

/**
 * Runs every code cell of a notebook in order on a fresh kernel, stops at the first error, and
 * writes the executed notebook (nbformat 4.5) in both cases. The kernel is always reaped.
 *
 * @throws {NotebookRunError} naming the cell, its source and its error.
 */
export async function runNotebook(
  path: string,
  options: RunNotebookOptions = {},
): Promise<NotebookRun> {
  const { onCell = printCellEvent, parameters = {} } = options;
  options.signal?.throwIfAborted();
  const output = options.output ?? path;
  const notebook = injectParameters(structuredClone(await loadNotebook(path)), parameters);
  await Deno.mkdir(dirname(output), { recursive: true });
  Object.assign(notebook.metadata, { ...DENO_METADATA, ...notebook.metadata });
  const code = notebook.cells.filter(isCode);
  for (const cell of code) Object.assign(cell, { outputs: [], execution_count: null });
  const begun = performance.now();
  await using kernel = await KernelClient.start({
    cwd: resolve(options.cwd ?? dirname(path)),
    ...(options.env ? { env: options.env } : {}),
    ...(options.deno ? { deno: options.deno } : {}),
  });
  using reaper = reapOnExit(kernel);
  const signal = AbortSignal.any([reaper.signal, ...options.signal ? [options.signal] : []]);
  const run: CellRun = { kernel, displays: new Map(), timeoutMs: options.timeoutMs, signal };
  const cells = code.filter((cell) => !isInjected(cell)).length;
  let number = 0;
  for (const cell of code) {
    if (!isInjected(cell)) number++;
    const started = performance.now();
    const tell = (kind: CellEvent["kind"], status: CellEvent["status"], progress = "") => {
      if (isInjected(cell)) return;
      const seconds = (performance.now() - started) / 1000;
      const title = firstLine(cell.source);
      onCell({ kind, notebook: path, cell: number, cells, title, progress, seconds, status });
    };
    tell("start", "running");
    const { ok, text } = await runCell(cell, run, (line) => tell("progress", "running", line));
    tell("end", ok ? "ok" : "error");
    if (!ok && options.keepGoing === true && kernel.alive && !signal.aborted) continue;
    if (!ok || signal.aborted) {
      await saveNotebook(output, notebook);
      const why = ok ? `the run was stopped (${signal.reason})` : text;
      throw new NotebookRunError(describe(path, number, cell, why, output), path, number, output);
    }
  }
  await kernel.quiet();
  await saveNotebook(output, notebook);
  return { output, cells, seconds: (performance.now() - begun) / 1000, notebook };
}
