/** Notebooks 03 to 06: their form, and what they say when run out of order. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { resolveConfig } from "@lib/config.ts";
import { Run } from "@lib/experiment/run.ts";
import { loadNotebook } from "@lib/notebook/notebook_file.ts";
import { NotebookRunError, runNotebook } from "@lib/notebook/runner.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { splitStep } from "@lib/workflow/split.ts";

const NOTEBOOKS = fileURLToPath(new URL("../../notebooks/", import.meta.url));
/** Each notebook and what names the step before it. */
const BEFORE = {
  "03_train": "Run 02_split (deno task split) first",
  "04_generate": "Run 03_train (deno task train) first",
  "05_metrics": "Run 04_generate (deno task generate) first",
  "06_human": "Run 04_generate (deno task generate) first",
} as const;
const PARTS = ["Overview", "Setup", "Config", "Check", "Exercises", "Recap"];
const LONGEST_CELL = 20;

for (const name of Object.keys(BEFORE)) {
  Deno.test(`${name} has the course's form and carries no outputs`, async () => {
    const { cells } = await loadNotebook(`${NOTEBOOKS}${name}.ipynb`);
    const prose = cells.filter(({ cell_type }) => cell_type === "markdown")
      .map(({ source }) => source).join("\n");
    const heads = [...prose.matchAll(/^## (.+)$/gm)].map(([, head = ""]) => head);
    assertEquals(heads.filter((head) => PARTS.includes(head)), PARTS);
    assertEquals(prose.match(/^# .+$/gm)?.length, 1, "one title");
    const code = cells.filter((cell) => cell.cell_type === "code");
    for (const { id, source, outputs, execution_count } of code) {
      assertEquals([outputs.length, execution_count], [0, null], `cell '${id}' holds outputs`);
      assert(source.split("\n").length <= LONGEST_CELL, `cell '${id}' is too long`);
    }
    const text = code.map(({ source }) => source).join("\n");
    const begun = text.match(/BEGIN SOLUTION/g)?.length ?? 0;
    assert(begun >= 3, "exercises");
    assertEquals(text.match(/END SOLUTION/g)?.length, begun);
  });
}

Deno.test("run out of order, each names the step to run first", async () => {
  const outputs = await Deno.makeTempDir();
  try {
    const config = resolveConfig({ profile: "tiny", set: ["data.max_rows=120"] });
    for (const [name, remedy] of Object.entries(BEFORE)) {
      const error = await assertRejects(
        () =>
          runNotebook(`${NOTEBOOKS}${name}.ipynb`, {
            output: `${outputs}/executed.ipynb`,
            parameters: { run: "order", profile: "tiny", settings: [] },
            env: { QLORA_OUTPUTS: outputs },
            onCell: () => {},
          }),
        NotebookRunError,
      );
      assertStringIncludes(error.message, remedy);
      if (name !== "03_train") continue;
      const run = await Run.open("order", outputs);
      await cleanStep(run, config, await readCorpus(config));
      await splitStep(run, config);
    }
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
});
