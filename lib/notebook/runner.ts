/**
 * Runs a notebook headless on the real Deno kernel and writes it back executed.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { CellOutputs } from "./cell_outputs.ts";
import { type CellMessage, KernelClient } from "./kernel/client.ts";
import {
  type CodeCell,
  loadNotebook,
  type Notebook,
  type NotebookOutput,
  saveNotebook,
} from "./notebook_file.ts";
import { DENO_METADATA } from "./kernel_spec.ts";
import { injectParameters, type ParameterValue } from "./parameters.ts";
import { reapOnExit } from "./reap.ts";

/** What the runner says about each code cell: before, while and after it runs. */
export interface CellEvent {
  readonly kind: "start" | "progress" | "end";
  readonly notebook: string;
  /** Number of the code cell among the code cells, from 1. */
  readonly cell: number;
  readonly cells: number;
  /** First line of the cell that is not empty. */
  readonly title: string;
  /** The cell's own progress line; empty unless the kind is `progress`. */
  readonly progress: string;
  /** Seconds since the cell started. */
  readonly seconds: number;
  readonly status: "running" | "ok" | "error";
}

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

/** How Deno's kernel reports, very rarely, that V8 lost the result of a cell that has run. */
const LOST_VALUE = "expected struct EvaluateResponse";
const LOST_VALUE_HINT =
  "\nThis is a flaw of Deno's kernel on an overloaded machine, not of the cell: " +
  "run the notebook again.";

/** Milliseconds between the interrupt of a cell and the end of a kernel that ignores it. */
const GRACE_MS = 2000;

// deno-lint-ignore no-control-regex -- terminal colours are control sequences
const ANSI = /\u001b\[[0-9;]*m/g;

const displayed = z.object({
  data: z.object({ "text/plain": z.string().optional() }),
  metadata: z.object({ progress: z.literal(true) }),
});

const firstLine = (source: string): string =>
  source.split("\n").find((line) => line.trim() !== "")?.trim().slice(0, 80) ?? "(empty)";

/** Prints one line a finished cell: `01_clean  3/12  ok    0.4 s  const rows = …`. */
export function printCellEvent(event: CellEvent): void {
  if (event.kind !== "end") return;
  const name = event.notebook.replace(/^.*[\\/]/, "").replace(/\.ipynb$/, "");
  const place = `${event.cell}/${event.cells}`.padStart(7);
  const time = `${event.seconds.toFixed(1)} s`.padStart(8);
  console.log(`${name} ${place}  ${event.status.padEnd(5)} ${time}  ${event.title}`);
}

interface CellRun {
  readonly kernel: KernelClient;
  readonly displays: Map<string, NotebookOutput[]>;
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal;
}

interface CellResult {
  readonly ok: boolean;
  /** Why the cell failed; empty where it did not. */
  readonly text: string;
}

/** Interrupts the kernel on abort or timeout; gives up on a kernel that does not answer. */
function watch(run: CellRun, onGiveUp: (why: string) => void): Disposable {
  const timers: ReturnType<typeof setTimeout>[] = [];
  const stop = (why: string) => {
    if (run.kernel.alive) run.kernel.interrupt();
    timers.push(setTimeout(() => onGiveUp(why), GRACE_MS));
  };
  const onAbort = () => stop(`the run was stopped (${run.signal.reason})`);
  run.signal.addEventListener("abort", onAbort);
  const { timeoutMs } = run;
  if (timeoutMs !== undefined) {
    timers.push(setTimeout(() => stop(`it took longer than ${timeoutMs / 1000} s`), timeoutMs));
  }
  return {
    [Symbol.dispose]() {
      run.signal.removeEventListener("abort", onAbort);
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

/** The text of a progress display (see `Progress`); `undefined` for any other message. */
function progressText({ content }: CellMessage): string | undefined {
  const { data, metadata: marks } = displayed.safeParse(content).data ?? {};
  return marks?.progress ? data?.["text/plain"] : undefined;
}

/** Runs one cell, filling in its outputs, execution count and times. */
async function runCell(
  cell: CodeCell,
  run: CellRun,
  onProgress: (text: string) => void,
): Promise<CellResult> {
  const outputs = new CellOutputs(run.displays);
  const giveUp = new AbortController();
  const begun = new Date().toISOString();
  cell.outputs = outputs.outputs;
  cell.execution_count = null;
  using _watch = watch(run, (why) => giveUp.abort(new Error(why)));
  try {
    const reply = await run.kernel.execute(cell.source, {
      onMessage: (message) => {
        outputs.add(message);
        const text = progressText(message);
        if (text !== undefined) onProgress(text);
      },
      signal: giveUp.signal,
    });
    cell.execution_count = reply.executionCount;
    const { error } = outputs;
    if (reply.status === "ok" && !error) return { ok: true, text: "" };
    const trace = error?.traceback.join("\n") ?? "";
    const text = trace || error?.evalue || `the kernel answered "${reply.status}"`;
    const hint = text.includes(LOST_VALUE) ? LOST_VALUE_HINT : "";
    return { ok: false, text: text.replaceAll(ANSI, "") + hint };
  } catch (error) {
    return { ok: false, text: error instanceof Error ? error.message : String(error) };
  } finally {
    cell.metadata = {
      ...cell.metadata,
      execution: {
        "iopub.execute_input": begun,
        "shell.execute_reply": new Date().toISOString(),
      },
    };
  }
}

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
    if (!ok || signal.aborted) {
      await saveNotebook(output, notebook);
      const why = ok ? `the run was stopped (${signal.reason})` : text;
      throw new NotebookRunError(describe(path, number, cell, why, output), path, number, output);
    }
  }
  await saveNotebook(output, notebook);
  return { output, cells, seconds: (performance.now() - begun) / 1000, notebook };
}
