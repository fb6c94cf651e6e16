/** Options that the tasks which answer people share: chat, batch. */
import type { Region } from "@lib/safety/mod.ts";
import { type TaskContext, type TaskOption, UsageError } from "@lib/tasks/cli.ts";
import { type Answering, type AnsweringOptions, openAnswering } from "@lib/workflow/answering.ts";

/** The options, for a task's own. */
export const ANSWERING_OPTIONS = {
  system: { type: "string", value: "TEXT", help: "another system prompt (prompt.system)" },
  region: { type: "string", value: "BD|IN", help: "whose helplines are named (default: both)" },
  context: { type: "string", value: "N", help: "tokens of the longest conversation (4096)" },
} as const satisfies Record<string, TaskOption>;

/** The system prompt that was asked for, or the configuration's. */
export function systemPromptOf({ values, config }: TaskContext): string {
  const { system } = values;
  return typeof system === "string" ? system : config.prompt.system;
}

/** `--region`, checked. @throws {UsageError} */
export function regionOf({ values }: TaskContext): Region {
  const { region = "unknown" } = values;
  if (region === "BD" || region === "IN" || region === "unknown") return region;
  throw new UsageError(`--region: expected BD or IN, found '${region}'.`);
}

/** A whole number given as an option, at least `least`. @throws {UsageError} */
export function wholeNumberOf(
  { values }: TaskContext,
  name: string,
  least: number,
): number | undefined {
  const value = values[name];
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= least) return number;
  throw new UsageError(`--${name}: expected a whole number from ${least} on, found '${value}'.`);
}

/** The adapter that was asked for: with another base model none of the run's. */
function askedAdapter({ values }: TaskContext): Pick<AnsweringOptions, "adapter"> {
  const { adapter, model } = values;
  if (typeof adapter === "string") return { adapter };
  return typeof model === "string" ? { adapter: null } : {};
}

/** Loads the model of a task under a progress bar. */
export async function openTaskAnswering(
  context: TaskContext,
  options: AnsweringOptions = {},
): Promise<Answering> {
  const { run, config, progress, say, signal } = context;
  const contextTokens = wholeNumberOf(context, "context", 64);
  const system = systemPromptOf(context);
  const bar = progress("loading", { total: 100, unit: "%" });
  const answering = await openAnswering(
    run,
    { ...config, prompt: { ...config.prompt, system } },
    {
      ...options,
      ...askedAdapter(context),
      ...(contextTokens === undefined ? {} : { contextTokens }),
      signal,
      onProgress: ({ bytesDone, bytesTotal, tensor }) =>
        bar.update(Math.round(100 * bytesDone / bytesTotal), tensor),
    },
  );
  await bar.finish(config.model.base);
  say(
    answering.adapter === null
      ? "No adapter is here: the base model answers."
      : `Adapter: ${answering.adapter}`,
  );
  return answering;
}
