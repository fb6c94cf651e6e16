/** `deno task split`: notebook 02_split as a command. */
import { splitStep } from "@lib/workflow/split.ts";
import { runTask } from "@lib/tasks/cli.ts";
import { phaseBars } from "@lib/tasks/phase_bars.ts";

if (import.meta.main) {
  await runTask({
    name: "split",
    summary: "Splits the clean records by group into train, validation and test.",
    async run({ run, config, say, progress }) {
      await using bars = phaseBars(progress, "texts");
      const { report } = (await splitStep(run, config, bars.onPhase)).split;
      await bars[Symbol.asyncDispose]();
      const { train, val, test } = report.parts;
      say(`train ${train.rows}, validation ${val.rows}, test ${test.rows} rows; no leak found`);
      for (const warning of report.warnings) say(`  ${warning}`);
      return report;
    },
  });
}
