/** What a person at the terminal sees of a training: preparing, loading, validation, steps. */
import type { Progress } from "@lib/notebook/progress.ts";
import type { OnPhase, OnProgress } from "@lib/phases.ts";
import type { TaskContext } from "@lib/tasks/cli.ts";
import { loadingBar, phaseBars } from "@lib/tasks/phase_bars.ts";
import type { TrainOptions } from "@lib/workflow/train.ts";

/** Options for `trainStep` that draw bars; dispose of them when it ends. */
export interface TrainBars extends AsyncDisposable {
  readonly onEvent: NonNullable<TrainOptions["onEvent"]>;
  readonly onLoad: NonNullable<TrainOptions["onLoad"]>;
  readonly onPhase: OnPhase;
  readonly onValidation: OnProgress;
}

/** Makes the bars of one training. */
export function trainBars({ progress, say }: Pick<TaskContext, "progress" | "say">): TrainBars {
  const loading = loadingBar(progress);
  const preparing = phaseBars(progress, "texts");
  const validating = phaseBars(progress, "samples");
  let steps: Progress | null = null;
  let loss = "";
  return {
    onPhase: preparing.onPhase,
    onLoad(report) {
      void preparing[Symbol.asyncDispose]();
      loading.onProgress(report);
    },
    onValidation(done, total) {
      void loading[Symbol.asyncDispose]();
      if (steps === null) validating.onPhase("validation", done, total);
      else steps.update(steps.done, `${loss}, validating ${Math.floor(100 * done / total)} %`);
    },
    onEvent(event, total) {
      if (event.event === "run_start" && event.resumed_from > 0) {
        say(`resuming after step ${event.resumed_from}`);
      }
      if (event.event === "train") {
        void validating[Symbol.asyncDispose]();
        steps ??= progress("train", { total, unit: "steps", initial: event.step });
        loss = `loss ${event.loss.toFixed(4)}, ${Math.round(event.tokens_per_second)} tok/s`;
        steps.update(event.step, loss);
      }
      if (event.event === "validation") {
        if (steps === null) void validating[Symbol.asyncDispose]();
        say(`step ${event.step}: validation perplexity ${event.perplexity.toFixed(2)}`);
      }
      if (event.event === "run_end") void steps?.finish(loss);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const bar of [preparing, loading, validating]) await bar[Symbol.asyncDispose]();
      await steps?.finish(loss);
    },
  };
}
