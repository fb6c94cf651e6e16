/** `deno task poc`: builds what is missing, runs all notebooks headless, writes the report. */
import { loadLibrary } from "@lib/engine/library.ts";
import { loadRunConfig } from "@lib/experiment/run_config.ts";
import { PROJECT_ROOT, Run } from "@lib/experiment/run.ts";
import { PINNED_DENO_VERSION } from "@lib/notebook/deno_version.ts";
import { formatDuration, interruptible } from "@lib/notebook/mod.ts";
import { type CellEvent, runNotebook } from "@lib/notebook/runner.ts";
import { COMMON_OPTIONS, helpText, parseOptions, reportFailure } from "@lib/tasks/cli.ts";
import { buildWithBars } from "@lib/tasks/phase_bars.ts";
import { writeReport } from "@lib/report/run_report.ts";
import { resultsTable } from "@lib/experiment/results_table.ts";

const TASK = {
  name: "poc",
  summary: "Runs the whole course headless: notebooks, logs, plots and a report in outputs/NAME/.",
  run: () => Promise.resolve(),
};

/** Notebooks in order, without those that need people. */
export async function courseNotebooks(): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(`${PROJECT_ROOT}notebooks`)) {
    if (/^0[0-6]_.*\.ipynb$/.test(entry.name)) names.push(entry.name);
  }
  return names.sort();
}

/** A line a finished cell, and a line in place for the cell under way when it is a terminal. */
function printer(quiet: boolean): (event: CellEvent) => void {
  const terminal = Deno.stderr.isTerminal();
  const encoder = new TextEncoder();
  return (event) => {
    if (quiet) return;
    const name = event.notebook.replace(/^.*[\\/]/, "").replace(/\.ipynb$/, "");
    const place = `${name} cell ${event.cell}/${event.cells}`;
    if (event.kind === "end") {
      if (terminal) Deno.stderr.writeSync(encoder.encode("\r\x1b[K"));
      const time = `${event.seconds.toFixed(1)} s`.padStart(8);
      console.error(`${place.padEnd(26)} ${event.status.padEnd(5)} ${time}  ${event.title}`);
    } else if (terminal) {
      const text = `${place}  ${event.progress || event.title}`.slice(0, 118);
      Deno.stderr.writeSync(encoder.encode(`\r\x1b[K${text}`));
    }
  };
}

/** Builds, runs the notebooks and writes the report. */
async function poc(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(COMMON_OPTIONS, args, false);
  if (values["help"] === true) return console.log(helpText(TASK));
  const quiet = values["quiet"] === true;
  const say = (line: string) => quiet || console.error(line);
  if (Deno.version.deno !== PINNED_DENO_VERSION) {
    say(`The course is tested with Deno ${PINNED_DENO_VERSION}; this is ${Deno.version.deno}.`);
  }
  const begun = performance.now();
  const build = await buildWithBars(quiet);
  say(
    `native library: ${build.built ? `built in ${formatDuration(build.seconds)}` : "up to date"}`,
  );
  const { description, reason } = loadLibrary();
  say(`engine: ${description.backend} on ${description.device} (${reason})`);

  const name = typeof values["run"] === "string" ? values["run"] : "poc";
  const run = await Run.open(name);
  const profile = typeof values["profile"] === "string" ? values["profile"] : "auto";
  const set = Array.isArray(values["set"]) ? values["set"] : [];
  const file = typeof values["config"] === "string" ? { file: values["config"] } : {};
  const config = await loadRunConfig(run, { profile: profile as "auto", set, ...file });
  await run.saveConfig(config);
  say(`run: ${run.folder} (profile ${config.profile})`);

  await interruptible(async (signal) => {
    for (const notebook of await courseNotebooks()) {
      const started = performance.now();
      say(`── ${notebook}`);
      await runNotebook(`${PROJECT_ROOT}notebooks/${notebook}`, {
        output: `${run.notebooks}/${notebook}`,
        parameters: { run: name, profile: "auto", settings: [] },
        onCell: printer(quiet),
        signal,
      });
      say(`── ${notebook} done in ${formatDuration((performance.now() - started) / 1000)}`);
    }
  });
  const report = await writeReport(run);
  say("");
  console.log(await resultsTable(run));
  say(`Everything took ${formatDuration((performance.now() - begun) / 1000)}.`);
  say(`Executed notebooks: ${run.notebooks}\nReport: ${report}`);
}

if (import.meta.main) {
  try {
    await poc(Deno.args);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
