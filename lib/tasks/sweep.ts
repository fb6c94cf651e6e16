/** `deno task sweep`: one run for every value of some settings. */
import { compareRuns } from "@lib/experiment/compare_runs.ts";
import { outputsFolder } from "@lib/experiment/run.ts";
import { openExistingRun } from "@lib/experiment/run_list.ts";
import { loadRunRecord } from "@lib/experiment/run_record.ts";
import { parseVariation, sweepPoints } from "@lib/experiment/sweep.ts";
import { writeFileAtomic } from "@lib/files.ts";
import { comparisonPage } from "@lib/report/comparison_page.ts";
import { alignedLines, formatValue } from "@lib/report/text_table.ts";
import { runTask, type TaskContext, UsageError } from "@lib/tasks/cli.ts";
import { trainBars } from "@lib/tasks/train_bars.ts";
import { runSweep, type SweepResult } from "@lib/workflow/sweep.ts";

const HEAD = ["settings", "steps", "validation loss", "perplexity", "chrF++", "empathy", "seconds"];

/** A row a run. */
function lines(results: readonly SweepResult[]): string[] {
  return alignedLines([
    HEAD,
    ...results.map((one) => [
      one.settings.join(" "),
      String(one.steps),
      one.validation_loss === null ? "–" : one.validation_loss.toFixed(4),
      formatValue(one.validation_perplexity),
      formatValue(one.chrf_pp),
      formatValue(one.empathy),
      one.kept ? "done before" : one.seconds.toFixed(0),
    ]),
  ]);
}

/** Early stopping as the sweep's option asks for it. */
function withPatience({ config, values }: TaskContext) {
  const given = values["patience"];
  if (given === undefined) return config;
  const patience = Number(given);
  if (!Number.isSafeInteger(patience) || patience < 1) {
    throw new UsageError(`--patience: expected a whole number from 1 on, found '${given}'.`);
  }
  return { ...config, training: { ...config.training, patience } };
}

async function sweep(context: TaskContext) {
  const { run, values, say, signal } = context;
  const vary = values["vary"];
  if (!Array.isArray(vary)) throw new UsageError("Expected --vary key=value,value. See --help.");
  const points = sweepPoints(run.name, withPatience(context), vary.map(parseVariation));
  let bars = trainBars(context);
  const results = await runSweep(run, points, {
    evaluate: values["train-only"] !== true,
    signal,
    onRun: ({ name }, place, done) => {
      void bars[Symbol.asyncDispose]();
      say(`${place + 1}/${points.length} ${name}${done ? ": done before" : ""}`);
      bars = trainBars(context);
    },
    onPhase: (...phase) => bars.onPhase(...phase),
    onLoad: (report) => bars.onLoad(report),
    onValidation: (...done) => bars.onValidation(...done),
    onEvent: (...event) => bars.onEvent(...event),
  });
  await bars[Symbol.asyncDispose]();
  for (const line of lines(results)) say(line);
  if (results.length < 2) return { results };
  const names = results.map(({ name }) => name);
  const runs = await Promise.all(names.map((name) => openExistingRun(name)));
  const comparison = compareRuns(await Promise.all(runs.map(loadRunRecord)));
  const page = `${outputsFolder()}/sweep_${run.name}_${
    vary.map((v) => v.split("=")[0]).join("_")
  }.html`;
  await writeFileAtomic(page, comparisonPage(comparison));
  say(`page: ${page}`);
  return { results, page };
}

if (import.meta.main) {
  await runTask({
    name: "sweep",
    summary:
      "Trains one run for every value of some settings, on the data of --run, and compares them:\n" +
      "deno task sweep --run mine --vary lora.r=4,16,64 --patience 3. What is done is not done again.",
    options: {
      vary: {
        type: "string",
        multiple: true,
        value: "key=a,b,…",
        help: "a setting and its values (repeatable: every combination)",
      },
      patience: {
        type: "string",
        value: "N",
        help: "stop a run after N validations without a lower loss (training.patience)",
      },
      "train-only": { type: "boolean", help: "validation only: no answers to the test questions" },
    },
    run: sweep,
  });
}
