/** Runs the rows one after another, each in its own process, and puts their figures together. */
import { type Figure, type RowJob, RowProgress, RowResult } from "@lib/bench/row.ts";
import { type Row, ROWS } from "@lib/bench/rows.ts";
import type { ShapeName } from "@lib/bench/shapes.ts";
import { type Backend, describeLibrary, type Library, loadLibrary } from "@lib/engine/library.ts";
import { type OnPhase, type OnProgress, phaseOf } from "@lib/phases.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";

/** What to run. */
export interface BenchOptions {
  readonly backend: Backend;
  readonly shape: ShapeName;
  /** Names of rows; empty: all. */
  readonly only: readonly string[];
  readonly quick: boolean;
  readonly whole: boolean;
  readonly python: string;
  readonly say: (line: string) => void;
  /** Told how far the row is that runs, where it says so. */
  readonly onPhase?: OnPhase;
  /** Called after every row with all rows so far, so that a run cut short leaves what it has. */
  readonly onRow?: (reports: readonly RowReport[]) => Promise<void>;
  /** After which a row is stopped. @default {1800} */
  readonly rowSeconds?: number;
  readonly signal?: AbortSignal;
}

/** A row with what it gave. */
export interface RowReport {
  readonly row: string;
  readonly title: string;
  readonly command: string;
  readonly seconds: number;
  readonly figures: readonly Figure[];
  readonly details: Readonly<Record<string, unknown>>;
  /** Device memory free before the row minus the lowest free while it ran, context included. */
  readonly peakBytes: number | null;
  readonly plannedBytes: number | null;
  /** What went wrong, when the row has no figures. */
  readonly error: string | null;
}

/** How often free memory is read, in milliseconds. */
const SAMPLING_MS = 20;

/** Lowest free device memory from now until it is stopped. */
class MemoryWatch {
  readonly #library: Library;
  readonly #before: number | undefined;
  #lowest: number | undefined;
  readonly #timer: ReturnType<typeof setInterval>;

  /** Reading creates this process's own CUDA context; it stands before the row and during it. */
  constructor(library: Library) {
    this.#library = library;
    this.#before = this.#lowest = this.#read();
    this.#timer = setInterval(() => {
      const free = this.#read();
      if (free !== undefined && this.#lowest !== undefined) {
        this.#lowest = Math.min(this.#lowest, free);
      }
    }, SAMPLING_MS);
  }

  #read(): number | undefined {
    if (this.#library.description.backend !== "cuda") return undefined; // a host's is everyone's
    try {
      return describeLibrary(this.#library.symbols).memory_free_bytes;
    } catch {
      return undefined; // the device is gone: the row will say so
    }
  }

  /** @returns bytes taken at the peak; null on a CPU */
  stop(): number | null {
    clearInterval(this.#timer);
    if (this.#before === undefined || this.#lowest === undefined) return null;
    return this.#before - this.#lowest;
  }
}

/** Names the rows. @throws {RangeError} an unknown name, with those there are */
export function chooseRows(only: readonly string[]): readonly Row[] {
  const names = ROWS.map((row) => row.name);
  const unknown = only.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new RangeError(`--only: expected rows among ${names.join(", ")}, found '${unknown}'`);
  }
  return ROWS.filter(({ name }) => only.length === 0 || only.includes(name));
}

/** The command that repeats a row, with the rows its figures are set against. */
function commandOf(row: Row, options: BenchOptions): string {
  const names = [row.name, ...row.needs ?? []];
  const inOrder = ROWS.map(({ name }) => name).filter((name) => names.includes(name));
  const parts = ["deno task bench --only", inOrder.join(",")];
  if (options.shape !== "8b") parts.push("--shape", options.shape);
  if (options.backend !== "auto") parts.push("--backend", options.backend);
  if (options.quick) parts.push("--quick");
  if (options.whole) parts.push("--whole");
  if (row.name === "pytorch") parts.push("--python", options.python);
  return parts.join(" ");
}

/** Passes on the lines in which a row tells how far it is; others are none of ours. */
async function readProgress(
  stdout: ReadableStream<Uint8Array<ArrayBuffer>>,
  onProgress: OnProgress | undefined,
): Promise<void> {
  let rest = "";
  for await (const text of stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.filter((one) => one.startsWith("{"))) {
      const { data } = RowProgress.safeParse(JSON.parse(line));
      if (data !== undefined) onProgress?.(data.done, data.total);
    }
  }
}

/** One row in a process of its own. */
async function runRow(
  row: Row,
  options: BenchOptions,
  library: Library,
  samplesPerSecond: number | null,
): Promise<RowReport> {
  const { backend, shape, quick, whole, python } = options;
  const output = await Deno.makeTempFile({ suffix: ".json" });
  const job: RowJob = {
    row: row.name,
    backend,
    shape,
    quick,
    whole,
    python,
    samplesPerSecond,
    output,
  };
  const { rowSeconds = 1800 } = options;
  const limit = AbortSignal.timeout(1000 * rowSeconds);
  const begun = performance.now();
  const watch = new MemoryWatch(library);
  try {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--allow-all",
        `--config=${PROJECT_ROOT}deno.json`,
        `${PROJECT_ROOT}lib/bench/worker.ts`,
        JSON.stringify(job),
      ],
      stderr: "piped",
      stdout: "piped",
      signal: options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]),
    }).spawn();
    const stderrText = new Response(child.stderr).text();
    await readProgress(
      child.stdout,
      phaseOf(options.onPhase, row.name, row.name === "decode" ? "cases" : "steps"),
    );
    const { success, code } = await child.status;
    const peakBytes = watch.stop();
    const base = {
      row: row.name,
      title: row.title,
      command: commandOf(row, options),
      seconds: (performance.now() - begun) / 1000,
      peakBytes,
    };
    if (!success) {
      const text = (await stderrText).trim().slice(-2000);
      const ended = limit.aborted
        ? `stopped after ${rowSeconds} s`
        : `the process ended with code ${code}`;
      const error = text === "" || limit.aborted ? `${text}\n${ended}`.trim() : text;
      return { ...base, figures: [], details: {}, plannedBytes: null, error };
    }
    const result = RowResult.parse(JSON.parse(await Deno.readTextFile(output)));
    const figures = [...result.figures, ...peakFigures(row, peakBytes, result.plannedBytes)];
    const { details, plannedBytes } = result;
    return { ...base, figures, details, plannedBytes, error: null };
  } finally {
    watch.stop();
    await Deno.remove(output);
  }
}

/** What a row says about memory; its bar, when it is a row about memory. */
export function peakFigures(
  row: Pick<Row, "title" | "peakBar">,
  peakBytes: number | null,
  plannedBytes: number | null,
): Figure[] {
  if (peakBytes === null) return [];
  const planned = plannedBytes === null ? "" : `; planned ${(plannedBytes / 1e9).toFixed(2)} GB, ` +
    `measured ${(100 * (peakBytes / plannedBytes - 1)).toFixed(1)} % more`;
  return [{
    name: "peak device memory",
    value: peakBytes / 1e9,
    unit: "GB",
    bar: row.peakBar === null ? null : { at: "most", value: row.peakBar / 1e9 },
    note: `free before minus lowest free during, context included${planned}`,
  }];
}

/** A figure of a row by its unit. */
function valueOf(report: RowReport, unit: string): number | null {
  return report.figures.find((figure) => figure.unit === unit)?.value ?? null;
}

/** The product rates of all rows that measured them: the fastest burst, the mean of what lasts. */
function productRates(reports: readonly RowReport[]): { burst: number; sustained: number } | null {
  const measured = reports.filter(({ row, error }) => row.startsWith("ceilings") && error === null);
  if (measured.length === 0) return null;
  const of = (name: "productFlops" | "sustainedFlops") =>
    measured.map(({ details }) => Number(details[name]));
  const sustained = of("sustainedFlops");
  return {
    burst: Math.max(...of("productFlops")),
    sustained: sustained.reduce((sum, rate) => sum + rate, 0) / sustained.length,
  };
}

/** Adds each row's shares of the product rates, where both were measured. */
export function addShares(reports: readonly RowReport[]): RowReport[] {
  const rates = productRates(reports);
  return reports.map((report) => {
    const done = valueOf(report, "TFLOP/s");
    if (rates === null || done === null || report.row.startsWith("ceilings")) return report;
    const shares: Figure[] = [
      {
        name: "share of the sustained product rate",
        value: 1e14 * done / rates.sustained,
        unit: "%",
        bar: report.row === "epoch" ? { at: "least", value: 80 } : null,
        note: "all operations done; the rate: mean of before and after the epoch",
      },
      {
        name: "share of the burst product rate",
        value: 1e14 * done / rates.burst,
        unit: "%",
        note: "of its fastest 20 ms",
      },
    ];
    return { ...report, figures: [...report.figures, ...shares] };
  });
}

/** Runs the rows in order. A row that fails is reported as such, and the next one runs. */
export async function runBench(options: BenchOptions): Promise<RowReport[]> {
  const library = loadLibrary(options.backend);
  const reports: RowReport[] = [];
  let samplesPerSecond: number | null = null;
  const rows = chooseRows(options.only);
  for (const [place, row] of rows.entries()) {
    options.signal?.throwIfAborted();
    options.say(`${place + 1}/${rows.length} ${row.title} …`);
    const report = await runRow(row, options, library, samplesPerSecond);
    reports.push(report);
    if (row.name === "epoch") samplesPerSecond = valueOf(report, "samples/s");
    options.say(outcome(report));
    await options.onRow?.(finish(reports, options.shape));
  }
  return finish(reports, options.shape);
}

/** A row in a few words, as soon as it is done. */
function outcome({ error, figures, seconds }: RowReport): string {
  const parts = figures.map(({ name, value, unit }) =>
    `${name} ${value === null ? "–" : value.toPrecision(4)} ${unit}`
  );
  const found = error === null ? parts.join("; ") : `failed: ${error.split("\n").at(-1)}`;
  return `  ${found} (${seconds.toFixed(1)} s)`;
}

/** Adds what follows from several rows. The bars are the 8B's. */
function finish(reports: readonly RowReport[], shape: ShapeName): RowReport[] {
  const complete = addShares(reports);
  if (shape === "8b") return complete;
  const withoutBars = ({ figures, ...report }: RowReport): RowReport => ({
    ...report,
    figures: figures.map((figure) => ({ ...figure, bar: null })),
  });
  return complete.map(withoutBars);
}
