/** Commands that work on files or on several runs, not on one run with its configuration. */
import { interruptible } from "@lib/notebook/interrupt.ts";
import { printLine, Progress, type ProgressOptions } from "@lib/notebook/progress.ts";
import {
  COMMON_OPTIONS,
  enterCallersFolder,
  helpText,
  type OptionValues,
  parseOptions,
  reportFailure,
  type Task,
  type TaskOption,
} from "@lib/tasks/cli.ts";

const { json, quiet, help } = COMMON_OPTIONS;
/** Options of every program. */
const PROGRAM_OPTIONS = { json, quiet, help } as const;

/** What a program's body gets. */
export interface ProgramContext {
  readonly values: OptionValues;
  readonly positionals: readonly string[];
  readonly quiet: boolean;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** A line for the person at the terminal, on standard error. */
  say(line: string): void;
  progress(label: string, options?: ProgressOptions): Progress;
}

/** A program's result: what `--json` prints, and the lines that stand for it otherwise. */
export interface ProgramResult {
  readonly json: unknown;
  readonly lines: readonly string[];
}

/** A program: its name, its help, its body. */
export interface Program extends Omit<Task, "run"> {
  readonly options?: Readonly<Record<string, TaskOption>>;
  run(context: ProgramContext): Promise<ProgramResult>;
}

/** Runs a program: exits 0, 1 (failed), 2 (usage) or 130 (interrupted). */
export async function runProgram(
  program: Program,
  args: readonly string[] = Deno.args,
): Promise<void> {
  try {
    const options = { ...PROGRAM_OPTIONS, ...program.options };
    const { values, positionals } = parseOptions(options, args, program.positionals !== undefined);
    if (values["help"] === true) return console.log(helpText(program, PROGRAM_OPTIONS));
    enterCallersFolder();
    const quiet = values["quiet"] === true;
    const { json, lines } = await interruptible((signal) =>
      program.run({
        values,
        positionals,
        quiet,
        signal,
        say: (line) => quiet || printLine(line),
        progress: (label, options = {}) => new Progress(label, { ...options, quiet }),
      })
    );
    if (values["json"] === true) console.log(JSON.stringify(json, null, 2));
    else for (const line of lines) console.log(line);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
