/** `deno task train`: notebook 03_train as a command. */
import type { Progress } from "@lib/notebook/progress.ts";
import { runTask } from "@lib/tasks/cli.ts";
import { loadingBar } from "@lib/tasks/phase_bars.ts";
import { trainStep } from "@lib/workflow/train.ts";
import { startingAdapterNotes } from "@lib/workflow/model.ts";

if (import.meta.main) {
  await runTask({
    name: "train",
    summary: "Fine-tunes the adapter; an interrupted run goes on from its last checkpoint.",
    async run({ run, config, say, progress, signal }) {
      for (const note of await startingAdapterNotes(config)) say(`Note: ${note}`);
      let bar: Progress | null = null;
      await using loading = loadingBar(progress);
      const report = await trainStep(
        run,
        config,
        (event, total) => {
          if (bar === null) void loading[Symbol.asyncDispose]();
          bar ??= progress("train", { total, unit: "steps" });
          if (event.event === "run_start" && event.resumed_from > 0) {
            say(`resuming after step ${event.resumed_from}`);
          }
          if (event.event === "train") {
            bar.update(
              event.step,
              `loss ${event.loss.toFixed(4)}, ${Math.round(event.tokens_per_second)} tok/s`,
            );
          }
          if (event.event === "validation") {
            say(`step ${event.step}: validation perplexity ${event.perplexity.toFixed(2)}`);
          }
        },
        signal,
        loading.onProgress,
      );
      await (bar as Progress | null)?.finish();
      say(`adapter: ${run.adapter}`);
      return report;
    },
  });
}
