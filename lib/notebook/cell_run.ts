/**
 * Runs one cell on a kernel, with its outputs, times and limits.
 *
 * @module
 */
import { progressText } from "./cell_events.ts";
import { CellOutputs } from "./cell_outputs.ts";
import type { KernelClient } from "./kernel/client.ts";
import type { CodeCell, NotebookOutput } from "./notebook_file.ts";

/** How Deno's kernel reports, very rarely, that V8 lost the result of a cell that has run. */
const LOST_VALUE = "expected struct EvaluateResponse";
const LOST_VALUE_HINT =
  "\nThis is a flaw of Deno's kernel on an overloaded machine, not of the cell: " +
  "run the notebook again.";

/** Milliseconds between the interrupt of a cell and the end of a kernel that ignores it. */
const GRACE_MS = 2000;

// deno-lint-ignore no-control-regex -- terminal colours are control sequences
const ANSI = /\u001b\[[0-9;]*m/g;

/** What the cells of one run share. */
export interface CellRun {
  readonly kernel: KernelClient;
  readonly displays: Map<string, NotebookOutput[]>;
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal;
}

/** How a cell ended. */
export interface CellResult {
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

/** Runs one cell, filling in its outputs, execution count and times. */
export async function runCell(
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
        const text = message.late ? undefined : progressText(message);
        if (text !== undefined) onProgress(text);
      },
      quietMs: 0, // stragglers find their cell while the next one runs
      signal: giveUp.signal,
    });
    if (reply.status !== "ok") await run.kernel.quiet();
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
