/** `deno task build`: the native libraries. */
import type { BuildResult } from "@lib/build/native.ts";
import { printLine } from "@lib/notebook/progress.ts";
import {
  optionLines,
  type OptionValues,
  parseOptions,
  reportFailure,
  type TaskOption,
} from "@lib/tasks/cli.ts";
import { buildWithBars } from "@lib/tasks/phase_bars.ts";

const OPTIONS = {
  force: { type: "boolean", help: "build although nothing has changed" },
  "without-cmake": { type: "boolean", help: "call the compiler directly" },
  cuda: { type: "boolean", help: "build for CUDA although no GPU is here" },
  "without-cuda": { type: "boolean", help: "leave the CUDA library aside" },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

const USAGE = "Builds the native library, and for CUDA where nvcc and a GPU are here.\n\n" +
  "Usage: deno task build [--force] [--without-cmake] [--cuda | --without-cuda]\n";

function cudaChoice(values: OptionValues): "always" | "never" | "auto" {
  if (values["cuda"] === true) return "always";
  return values["without-cuda"] === true ? "never" : "auto";
}

/** What was built and with what, a line a library. */
function outcome({ built, seconds, compiler, cuda }: BuildResult): string[] {
  const how = built ? `built in ${seconds.toFixed(0)} s` : "up to date";
  const why = "compiler" in cuda ? ` (${cuda.compiler})` : `: ${cuda.reason}`;
  return [`Native library: ${how} (${compiler})`, `CUDA library: ${cuda.state}${why}`];
}

async function build(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) return console.log(`${USAGE}\n${optionLines(OPTIONS)}`);
  const quiet = values["quiet"] === true;
  const result = await buildWithBars(quiet, {
    force: values["force"] === true,
    withoutCMake: values["without-cmake"] === true,
    cuda: cudaChoice(values),
  });
  const failed = result.cuda.state === "failed";
  if (!quiet || failed) { for (const line of outcome(result)) printLine(line); }
  if (failed) Deno.exitCode = 1;
}

if (import.meta.main) {
  try {
    await build(Deno.args);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
