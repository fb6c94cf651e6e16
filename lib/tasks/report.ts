/** `deno task report`: one self-contained HTML page of a run. */
import { writeReport } from "@lib/report/run_report.ts";
import { runTask } from "@lib/tasks/cli.ts";

if (import.meta.main) {
  await runTask({
    name: "report",
    summary:
      "Writes report.html into a run's folder: results with intervals, answers, gates, curves,\n" +
      "data, configuration, environment and hashes, in one file that needs no network.",
    async run({ run, say }) {
      const file = await writeReport(run);
      say(`report: ${file}`);
      return { file };
    },
  });
}
