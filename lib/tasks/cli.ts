/** The command line every task shares: options, configuration, output, errors. */
import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { closest } from "@lib/closest.ts";
import type { Config, ProfileName } from "@lib/config.ts";
import { loadRunConfig } from "@lib/experiment/run_config.ts";
import { Run } from "@lib/experiment/run.ts";
import { interruptible } from "@lib/notebook/interrupt.ts";
import { printLine, Progress, type ProgressOptions } from "@lib/notebook/progress.ts";

/** One option of a task, for parsing and for `--help`. */
export interface TaskOption {
  readonly type: "string" | "boolean";
  readonly multiple?: boolean;
  readonly short?: string;
  /** Placeholder of the value, e.g. `NAME`. */
  readonly value?: string;
  readonly help: string;
}

/** Options of every task that works on a run. */
export const COMMON_OPTIONS = {
  run: { type: "string", value: "NAME", help: 'run folder under outputs/ (default "default")' },
  profile: { type: "string", value: "NAME", help: "tiny, rtx3060 or full (default: what fits)" },
  config: { type: "string", value: "FILE.json", help: "settings, by section or the seed's names" },
  set: {
    type: "string",
    multiple: true,
    value: "key=value",
    help: "one setting, e.g. --set lora.r=8 (repeatable)",
  },
  model: { type: "string", value: "DIR", help: "Hugging Face model folder (model.base)" },
  adapter: { type: "string", value: "DIR", help: "PEFT adapter to start from (model.adapter)" },
  memory: { type: "string", value: "12GB", help: "cap on device memory (engine.memory)" },
  json: { type: "boolean", help: "print the result as JSON on standard output" },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

/** Parsed values by option name. */
export type OptionValues = Readonly<Record<string, string | boolean | string[] | undefined>>;

/** What a task's body gets. */
export interface TaskContext {
  readonly run: Run;
  readonly config: Config;
  readonly values: OptionValues;
  readonly positionals: readonly string[];
  readonly quiet: boolean;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** A line for the person at the terminal, on standard error. */
  say(line: string): void;
  progress(label: string, options?: ProgressOptions): Progress;
}

/** A task: its name, its help, its body. */
export interface Task {
  readonly name: string;
  readonly summary: string;
  readonly options?: Readonly<Record<string, TaskOption>>;
  /** Placeholder of positional arguments, when it takes any. */
  readonly positionals?: string;
  /** Whether it ends in its own way when it is interrupted; else Ctrl-C aborts `signal`. */
  readonly handlesInterrupts?: boolean;
  /** @returns the result that `--json` prints */
  run(context: TaskContext): Promise<unknown>;
}

/** A command line that cannot be understood. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Parses arguments; unknown options are refused with the nearest known one. */
export function parseOptions(
  options: Readonly<Record<string, TaskOption>>,
  args: readonly string[],
  allowPositionals: boolean,
): { values: OptionValues; positionals: string[] } {
  for (const argument of args) {
    if (argument === "--") break;
    const name = /^--([^=]+)/.exec(argument)?.[1];
    if (name === undefined || Object.hasOwn(options, name)) continue;
    const guess = closest(name, Object.keys(options));
    throw new UsageError(
      `Unknown option --${name}${guess === null ? "" : `; did you mean --${guess}?`} See --help.`,
    );
  }
  try {
    const spec: ParseArgsOptionsConfig = Object.fromEntries(
      Object.entries(options).map(([name, o]) => [name, {
        type: o.type,
        multiple: o.multiple === true,
        ...(o.short === undefined ? {} : { short: o.short }),
      }]),
    );
    const parsed = parseArgs({ args: [...args], options: spec, allowPositionals, strict: true });
    return { values: parsed.values as OptionValues, positionals: parsed.positionals };
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** Options as lines of a `--help`: the names, the value, what it does. */
export function optionLines(options: Readonly<Record<string, TaskOption>>): string {
  const rows = Object.entries(options).map(([name, { short, value, help }]) => {
    const left = `  ${short === undefined ? "    " : `-${short}, `}--${name}${
      value === undefined ? "" : ` ${value}`
    }`;
    return [left, help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return rows.map(([left, help]) => left.padEnd(width) + help).join("\n");
}

/** The `--help` text. @param common options beside the task's own */
export function helpText(
  task: Omit<Task, "run">,
  common: Readonly<Record<string, TaskOption>> = COMMON_OPTIONS,
): string {
  const usage = `deno task ${task.name} [options]${
    task.positionals === undefined ? "" : ` ${task.positionals}`
  }`;
  return `${task.summary}\n\nUsage: ${usage}\n\n${optionLines({ ...common, ...task.options })}\n`;
}

function text(values: OptionValues, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" ? value : undefined;
}

/** `--set`, with the short options that stand for one setting put in front. */
function settings(values: OptionValues): string[] {
  const short = { model: "model.base", adapter: "model.adapter", memory: "engine.memory" };
  const pairs = Object.entries(short).flatMap(([option, key]) => {
    const value = text(values, option);
    return value === undefined ? [] : [`${key}=${JSON.stringify(absolute(option, value))}`];
  });
  const set = values["set"];
  return [...pairs, ...(Array.isArray(set) ? set : [])];
}

/** Folders on the command line are relative to where the user stands, not to the project. */
function absolute(option: string, value: string): string {
  const isFolder = option === "model" || option === "adapter";
  if (!isFolder || /^([/\\]|[A-Za-z]:)/.test(value)) return value;
  try {
    return Deno.realPathSync(value);
  } catch {
    return value;
  }
}

/** Goes back to where `deno task` was called from; it runs tasks in the project's root. */
export function enterCallersFolder(): void {
  Deno.chdir(Deno.env.get("INIT_CWD") ?? Deno.cwd());
}

/**
 * Runs a task as a program: parses, configures, prints, and exits 0, 1 (failed), 2 (usage) or 130
 * (interrupted).
 */
export async function runTask(task: Task, args: readonly string[] = Deno.args): Promise<void> {
  try {
    const options = { ...COMMON_OPTIONS, ...task.options };
    const { values, positionals } = parseOptions(options, args, task.positionals !== undefined);
    if (values["help"] === true) return console.log(helpText(task));
    enterCallersFolder();
    const work = (signal: AbortSignal) => execute(task, values, positionals, signal);
    const result = task.handlesInterrupts === true
      ? await work(new AbortController().signal)
      : await interruptible(work);
    if (values["json"] === true) console.log(JSON.stringify(result, null, 2));
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}

async function execute(
  task: Task,
  values: OptionValues,
  positionals: readonly string[],
  signal: AbortSignal,
): Promise<unknown> {
  const quiet = values["quiet"] === true;
  const run = await Run.open(text(values, "run") ?? "default");
  const profile = text(values, "profile");
  const file = text(values, "config");
  const config = await loadRunConfig(run, {
    ...(profile === undefined ? {} : { profile: profile as ProfileName }),
    ...(file === undefined ? {} : { file }),
    set: settings(values),
  });
  return await task.run({
    run,
    config,
    values,
    positionals,
    quiet,
    signal,
    say: (line) => quiet || printLine(line),
    progress: (label, options = {}) => new Progress(label, { ...options, quiet }),
  });
}

/** Prints what went wrong and gives the exit code. A message of ours needs no stack. */
export function reportFailure(error: unknown): number {
  if (!(error instanceof Error)) {
    console.error(String(error));
    return 1;
  }
  if (error.name === "InterruptedError") {
    console.error(`\n${error.message}`);
    return 130;
  }
  const ours = error.name !== "Error" && error.name !== "TypeError" &&
    error.name !== "ReferenceError" && error.name !== "RangeError";
  console.error(ours ? `${error.name}: ${error.message}` : error.stack ?? error.message);
  return error.name === "UsageError" || error.name === "ConfigError" ? 2 : 1;
}
