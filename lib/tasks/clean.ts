/** `deno task clean`: notebook 01_clean as a command. */
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { runTask } from "@lib/tasks/cli.ts";
import { phaseBars } from "@lib/tasks/phase_bars.ts";

if (import.meta.main) {
  await runTask({
    name: "clean",
    summary: "Cleans the corpus: records, dropped rows with reasons, and a report.",
    async run({ run, config, say, progress }) {
      say("reading the corpus");
      const corpus = await readCorpus(config);
      await using bars = phaseBars(progress, "rows");
      const { report, records } = await cleanStep(run, config, corpus, bars.onPhase);
      await bars[Symbol.asyncDispose]();
      say(`${corpus.rows.length} rows (${corpus.kind} corpus) → ${records.length} clean records`);
      if (report.mode === "strict") {
        for (const [reason, count] of Object.entries(report.dropped)) {
          if (count > 0) say(`  ${String(count).padStart(6)}  ${reason}`);
        }
      }
      return report;
    },
  });
}
