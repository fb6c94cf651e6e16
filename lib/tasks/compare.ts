/** `deno task compare`: runs side by side. */
import { compareRuns } from "@lib/experiment/compare_runs.ts";
import { outputsFolder } from "@lib/experiment/run.ts";
import { openExistingRun } from "@lib/experiment/run_list.ts";
import { loadRunRecord } from "@lib/experiment/run_record.ts";
import { writeFileAtomic } from "@lib/files.ts";
import { comparisonPage } from "@lib/report/comparison_page.ts";
import { comparisonLines } from "@lib/report/comparison_text.ts";
import { UsageError } from "@lib/tasks/cli.ts";
import { phaseBars } from "@lib/tasks/phase_bars.ts";
import { runProgram } from "@lib/tasks/program.ts";
import { type SystemName, SYSTEMS } from "@lib/workflow/generate.ts";

function systemOf(value: unknown): SystemName {
  const system = SYSTEMS.find((name) => name === (value ?? "tuned"));
  if (system !== undefined) return system;
  throw new UsageError(`--system: expected ${SYSTEMS.join(" or ")}, found '${value}'.`);
}

if (import.meta.main) {
  await runProgram({
    name: "compare",
    summary:
      "Compares runs: curves, settings and environments that differ, and every metric on the\n" +
      "rows that both answered, with intervals of the paired difference. The first run is the\n" +
      "baseline. Also writes a page.",
    positionals: "RUN RUN …",
    options: {
      system: { type: "string", value: "NAME", help: "whose answers: tuned (default) or base" },
      html: { type: "string", value: "FILE", help: "where the page goes (default in outputs/)" },
    },
    async run({ positionals, values, say, progress }) {
      if (positionals.length < 2) {
        throw new UsageError(
          `Expected at least two runs, found ${positionals.length}. See --help.`,
        );
      }
      const system = systemOf(values["system"]);
      const runs = await Promise.all(positionals.map((name) => openExistingRun(name)));
      const records = await Promise.all(runs.map(loadRunRecord));
      await using bars = phaseBars(progress, "answers");
      const comparison = compareRuns(records, { system, onPhase: bars.onPhase });
      await bars[Symbol.asyncDispose]();
      const html = values["html"];
      const name = `compare_${positionals.join("_")}`.slice(0, 150);
      const file = typeof html === "string" ? html : `${outputsFolder()}/${name}.html`;
      await writeFileAtomic(file, comparisonPage(comparison));
      say(`page: ${file}`);
      return { json: comparison, lines: comparisonLines(comparison) };
    },
  });
}
