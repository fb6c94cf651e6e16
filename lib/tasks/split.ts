/** `deno task split`: notebook 02_split as a command. */
import { splitStep } from "@lib/workflow/split.ts";
import { runTask } from "@lib/tasks/cli.ts";

if (import.meta.main) {
  await runTask({
    name: "split",
    summary: "Splits the clean records by group into train, validation and test.",
    async run({ run, config, say }) {
      say("grouping, splitting and proving that nothing leaks (about 10 s for 38,000 rows)");
      const { report } = (await splitStep(run, config)).split;
      const { train, val, test } = report.parts;
      say(`train ${train.rows}, validation ${val.rows}, test ${test.rows} rows; no leak found`);
      for (const warning of report.warnings) say(`  ${warning}`);
      return report;
    },
  });
}
