/**
 * `deno task bench`: what the engine does on this machine.
 *
 * On a GPU the table of the project's bars: the original project's epoch at the 8B's shape with random
 * weights, throughput without sharing, memory, decoding, loading, each beside the product rate and the
 * copy bandwidth measured in the same run, and transformers + PEFT where a Python has them. On a CPU
 * training of the tiny model, beside PyTorch's.
 */
import { CONVENTION, formatTable } from "@lib/bench/table.ts";
import { chooseRows, type RowReport, runBench } from "@lib/bench/run.ts";
import { type ShapeName, SHAPES } from "@lib/bench/shapes.ts";
import { describeEnvironment } from "@lib/experiment/environment.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { type Backend, loadLibrary } from "@lib/engine/library.ts";
import { saveJson, writeFileAtomic } from "@lib/files.ts";
import { interruptible } from "@lib/notebook/interrupt.ts";
import { printLine, Progress } from "@lib/notebook/progress.ts";
import {
  type OptionValues,
  parseOptions,
  reportFailure,
  type TaskOption,
  UsageError,
} from "@lib/tasks/cli.ts";
import { phaseBars } from "@lib/tasks/phase_bars.ts";

const OPTIONS = {
  only: { type: "string", value: "ROW,…", help: "rows of the GPU table to run (default: all)" },
  quick: { type: "boolean", help: "fewest repetitions that still give a figure" },
  whole: { type: "boolean", help: "time whole epochs in every row, not parts of them" },
  shape: { type: "string", value: "NAME", help: "8b or small, the rows in miniature (default 8b)" },
  backend: { type: "string", value: "NAME", help: "auto, cuda or cpu (default auto)" },
  python: { type: "string", value: "PATH", help: "Python with torch, transformers and peft" },
  steps: { type: "string", value: "N", help: "CPU table: timed steps a round (default 6)" },
  rounds: { type: "string", value: "N", help: "CPU table: rounds, taken in turn (default 3)" },
  threads: { type: "string", value: "N", help: "CPU table: threads of both (default: all)" },
  set: { type: "string", multiple: true, value: "key=value", help: "CPU table: one setting" },
  limit: { type: "string", value: "SECONDS", help: "stops a row after so long (default 1800)" },
  json: {
    type: "string",
    value: "FILE",
    help: "figures, and beside them the table as text (default: outputs/bench/)",
  },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

function text(values: OptionValues, name: string): string | null {
  const value = values[name];
  return typeof value === "string" ? value : null;
}

/** An option that must be one of a few words. */
function choice<T extends string>(
  values: OptionValues,
  name: string,
  words: readonly T[],
  otherwise: T,
): T {
  const value = text(values, name);
  if (value === null) return otherwise;
  const found = words.find((word) => word === value);
  if (found !== undefined) return found;
  throw new UsageError(`--${name}: expected ${words.join(", ")}, found '${value}'`);
}

function count(values: OptionValues, name: string, otherwise: number): number {
  const value = text(values, name);
  if (value === null) return otherwise;
  if (/^[1-9]\d*$/.test(value)) return Number(value);
  throw new UsageError(`--${name}: expected a whole number above 0, found '${value}'`);
}

/** Where the figures of this run are kept. */
async function resultPath(values: OptionValues): Promise<string> {
  const time = new Date().toISOString().replace(/[:.]/g, "-");
  const path = text(values, "json") ?? `${PROJECT_ROOT}outputs/bench/${time}.json`;
  await Deno.mkdir(path.replace(/[^/\\]*$/, "") || ".", { recursive: true });
  return path;
}

/** Bars of the bench; none with `--quiet`. */
function barsOf(values: OptionValues) {
  const quiet = values["quiet"] === true;
  return phaseBars((label, more) => new Progress(label, { ...more, quiet }), "texts");
}

/** The table of the bars. */
async function tableOfBars(values: OptionValues, backend: Backend): Promise<void> {
  const library = loadLibrary(backend);
  const only = (text(values, "only") ?? "").split(",").map((name) => name.trim()).filter(Boolean);
  try {
    chooseRows(only);
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(error.message) : error;
  }
  const shape: ShapeName = choice(values, "shape", Object.keys(SHAPES) as ShapeName[], "8b");
  const path = await resultPath(values);
  const tablePath = `${path.replace(/\.json$/, "")}.txt`;
  const environment = await describeEnvironment(library);
  const title =
    `${library.description.device}, shape ${shape}, random weights, NF4 with double quantisation`;
  const textOf = (rows: readonly RowReport[]) =>
    `${title}\n\n${formatTable(rows)}\n\n${CONVENTION}\nAll figures with their commands: ${path}\n`;
  await using bars = barsOf(values);
  const reports = await interruptible((signal) =>
    runBench({
      backend,
      shape,
      only,
      quick: values["quick"] === true,
      whole: values["whole"] === true,
      python: text(values, "python") ?? "python3",
      say: (line) => {
        void bars[Symbol.asyncDispose]();
        if (values["quiet"] !== true) printLine(line);
      },
      onPhase: bars.onPhase,
      rowSeconds: count(values, "limit", 1800),
      onRow: async (rows) => {
        await saveJson(path, { environment, shape, rows });
        await writeFileAtomic(tablePath, textOf(rows));
      },
      signal,
    })
  );
  console.log(textOf(reports).trimEnd());
  if (reports.some(({ error }) => error !== null)) Deno.exitCode = 1;
}

/** The tiny model's training, and PyTorch's. */
async function tinyTable(values: OptionValues): Promise<void> {
  const { runTinyBench } = await import("@lib/bench/tiny.ts");
  const set = values["set"];
  await using bars = barsOf(values);
  const result = await runTinyBench({
    python: text(values, "python"),
    steps: count(values, "steps", 6),
    rounds: count(values, "rounds", 3),
    threads: count(values, "threads", navigator.hardwareConcurrency),
    set: Array.isArray(set) ? set : [],
    onPhase: bars.onPhase,
  });
  await bars[Symbol.asyncDispose]();
  const path = await resultPath(values);
  await saveJson(path, result);
  console.log(
    "tokens a second, counted as if every sample were laid out alone, without padding; medians",
  );
  console.log(
    `engine (NF4, shared prefix):          ${result.engine_tokens_per_second.toFixed(0)}`,
  );
  if (result.ratio !== null) {
    const other = result.pytorch_tokens_per_second?.toFixed(0);
    console.log(`PyTorch ${result.torch} + PEFT (fp32 base):  ${other}`);
    console.log(`ratio:                                ${result.ratio.toFixed(2)}`);
  }
  console.log(`All figures: ${path}`);
}

async function bench(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) {
    const rows = Object.entries(OPTIONS).map(([name, o]) =>
      `  --${name}${"value" in o ? ` ${o.value}` : ""}`.padEnd(24) + o.help
    );
    const names = `Rows: ${chooseRows([]).map(({ name }) => name).join(", ")}`;
    return console.log(`Measures the engine on this machine.\n\n${rows.join("\n")}\n\n${names}`);
  }
  const backend = choice(values, "backend", ["auto", "cuda", "cpu"], "auto");
  const asked = text(values, "only") !== null || text(values, "shape") !== null;
  const gpu = loadLibrary(backend).description.backend === "cuda";
  await (gpu || asked ? tableOfBars(values, backend) : tinyTable(values));
}

if (import.meta.main) {
  try {
    await bench(Deno.args);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
