/** `deno task train`: notebook 03_train as a command. */
import { runTask } from "@lib/tasks/cli.ts";
import { trainBars } from "@lib/tasks/train_bars.ts";
import { startingAdapterNotes } from "@lib/workflow/model.ts";
import { trainStep } from "@lib/workflow/train.ts";

if (import.meta.main) {
  await runTask({
    name: "train",
    summary: "Fine-tunes the adapter; an interrupted run goes on from its last checkpoint.",
    async run({ run, config, say, progress, signal }) {
      for (const note of await startingAdapterNotes(config)) say(`Note: ${note}`);
      await using bars = trainBars({ progress, say });
      const report = await trainStep(run, config, { ...bars, signal });
      await bars[Symbol.asyncDispose]();
      say(`adapter: ${run.adapter}`);
      return report;
    },
  });
}
