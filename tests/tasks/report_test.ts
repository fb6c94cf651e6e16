import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import { writeReport } from "@lib/report/run_report.ts";
import { resultsTable } from "@lib/experiment/results_table.ts";
import { Run } from "@lib/experiment/run.ts";
import { saveTestResults } from "@lib/workflow/generate.ts";

Deno.test("a report holds what the run has, escaped, with nothing from elsewhere", async () => {
  const outputs = await Deno.makeTempDir();
  try {
    const run = await Run.open("r", outputs);
    const config = resolveConfig();
    await run.saveConfig(config);
    const answer = {
      row: 1,
      group: 1,
      topic: "[ভীত]",
      question: "কাল <b>পরীক্ষা</b>, ভয় লাগছে।",
      reference: "ভয় লাগা স্বাভাবিক।",
      tokens: 3,
      finish: "stop" as const,
      logprob: -1,
    };
    await saveTestResults(run, config, [
      { ...answer, system: "base", answer: "নদী বয়ে যায়।" },
      { ...answer, system: "tuned", answer: "শুনছি।" },
    ]);
    await Deno.mkdir(run.plots);
    await Deno.writeTextFile(
      `${run.plots}/03_loss.svg`,
      "<svg xmlns='http://www.w3.org/2000/svg'/>",
    );
    const page = await Deno.readTextFile(await writeReport(run));
    for (const text of ["কাল &lt;b&gt;", "নদী বয়ে যায়।", "শুনছি।", "03 loss", "training"]) {
      assertStringIncludes(page, text);
    }
    const loaded = [...page.matchAll(/(?:src|href)="([^"]*)"/g)].map((m) => m[1] ?? "");
    assert(loaded.length > 0);
    assertEquals(loaded.filter((url) => !/^(#|data:)/.test(url)), []);
    assertStringIncludes(await resultsTable(run), "no evaluation results yet");
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
});
