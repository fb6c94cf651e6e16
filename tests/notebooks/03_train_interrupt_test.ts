/** The stop button on the training cell of 03_train: it ends fast, saves, and the kernel lives on. */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { resolveConfig } from "@lib/config.ts";
import { loadLog, type LogEvent } from "@lib/experiment/log.ts";
import { Run } from "@lib/experiment/run.ts";
import { type CellMessage, KernelClient } from "@lib/notebook/kernel/client.ts";
import { loadNotebook } from "@lib/notebook/notebook_file.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { splitStep } from "@lib/workflow/split.ts";

const NOTEBOOKS = fileURLToPath(new URL("../../notebooks/", import.meta.url));
/** Enough steps that the cell is surely under way when it is stopped. */
const SETTINGS = [
  "data.max_rows=200",
  "training.epochs=200",
  "training.batch_size=8",
  "training.eval_every=1000000",
  "training.eval_samples=4",
];
/** The cells the training cell needs, in order, and a plot, which loads what draws the last one. */
const BEFORE = [
  ...["setup", "config", "prepare", "roles", "roles-shares", "roles-plot"],
  ...["load", "load-model", "draw", "train-loop"],
];
/** The stop button must work within a second; the rest is the kernel's answer on a busy machine. */
const LIMIT_MS = 1500;

async function prepareRun(outputs: string): Promise<Run> {
  const run = await Run.open("stop", outputs);
  const config = resolveConfig({ profile: "tiny", set: SETTINGS });
  await cleanStep(run, config, await readCorpus(config));
  await splitStep(run, config);
  return run;
}

/** The notebook's cells by id. */
async function cellSources(): Promise<(id: string) => string> {
  const { cells } = await loadNotebook(`${NOTEBOOKS}03_train.ipynb`);
  return (id) => {
    const cell = cells.find((one) => one.id === id && one.cell_type === "code");
    if (cell === undefined) throw new Error(`03_train has no code cell '${id}'`);
    return cell.source;
  };
}

const isProgress = ({ type, content }: CellMessage) =>
  type.endsWith("display_data") && JSON.stringify(content).includes("tokens/s");

/** Runs the training cell, stops it after its first steps, and tells how long that took. */
async function stopTraining(kernel: KernelClient, source: string): Promise<number> {
  const steps = Promise.withResolvers<void>();
  const done = kernel.execute(source, {
    onMessage: (message) => isProgress(message) && steps.resolve(),
  });
  await Promise.race([steps.promise, done.then(({ content }) => steps.reject(content))]);
  const begun = performance.now();
  kernel.interrupt();
  const reply = await done;
  assertEquals(reply.status, "error");
  assertEquals(reply.content.ename, "InterruptedError");
  return performance.now() - begun;
}

/** The value of an expression in the kernel, as text. */
async function valueOf(kernel: KernelClient, expression: string): Promise<string> {
  let text = "";
  const reply = await kernel.execute(expression, {
    onMessage: ({ type, content }) => {
      if (type === "execute_result") text = JSON.stringify(content.data);
    },
  });
  assertEquals(reply.status, "ok");
  return text;
}

/** Events of the newest log. */
async function newestEvents(run: Run): Promise<readonly LogEvent[]> {
  return (await loadLog((await run.experimentLogs()).at(-1) ?? "no log")).events;
}

Deno.test({
  name:
    "stopping the training cell takes a second, keeps what was learnt, and it goes on from there",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const outputs = await Deno.makeTempDir();
    try {
      const run = await prepareRun(outputs);
      const cell = await cellSources();
      await using kernel = await KernelClient.start({
        cwd: NOTEBOOKS,
        env: { QLORA_OUTPUTS: outputs },
      });
      await kernel.execute(
        `var run = "stop"; var profile = "tiny"; var settings = ${JSON.stringify(SETTINGS)};`,
      );
      for (const id of BEFORE) {
        const { status, content } = await kernel.execute(cell(id));
        assertEquals(status, "ok", `cell '${id}': ${content.evalue}`);
      }

      const took = await stopTraining(kernel, cell("train"));
      assert(took < LIMIT_MS, `stopping took ${took.toFixed(0)} ms`);
      assert((await valueOf(kernel, "config.profile")).includes("tiny"), "the variables live on");
      const events = await newestEvents(run);
      const end = events.at(-1);
      if (end?.event !== "run_end") throw new Error(`the log ends with ${end?.event}`);
      assertEquals(end.reason, "interrupted");
      assert(end.step > 0, "steps were finished");
      assert(events.some((one) => one.event === "checkpoint" && one.step === end.step));

      await new Promise((resolve) => setTimeout(resolve, 1100)); // logs are named by the second
      const again = await stopTraining(kernel, cell("train"));
      assert(again < LIMIT_MS, `stopping again took ${again.toFixed(0)} ms`);
      const [start] = await newestEvents(run);
      if (start?.event !== "run_start") throw new Error(`the log starts with ${start?.event}`);
      assertEquals(start.resumed_from, end.step, "it goes on after the last finished step");
    } finally {
      await Deno.remove(outputs, { recursive: true });
    }
  },
});
