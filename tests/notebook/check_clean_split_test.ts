import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { injectParameters } from "@lib/notebook/parameters.ts";
import { cellTags, loadNotebook, saveNotebook } from "@lib/notebook/notebook_file.ts";
import { NotebookRunError, runNotebook } from "@lib/notebook/runner.ts";
import { KERNEL_DENO, ROOT } from "./kernel_fixture.ts";
import { inProjectFolder } from "./notebook_fixture.ts";

const NAMES = ["00_check", "01_clean", "02_split"] as const;
const pathOf = (name: string) => join(ROOT, "notebooks", `${name}.ipynb`);

/** Runs a notebook of the course, or a changed copy, in a folder of outputs of its own. */
async function run(outputs: string, path: string, settings: readonly string[]): Promise<void> {
  await runNotebook(path, {
    output: join(outputs, "executed.ipynb"),
    parameters: { run: "a", profile: "tiny", settings },
    env: { QLORA_OUTPUTS: outputs },
    onCell: () => {},
    deno: KERNEL_DENO,
    cwd: join(ROOT, "notebooks"),
    timeoutMs: 120_000,
  });
}

Deno.test("the notebooks have the course's form and carry no outputs", async () => {
  const parts = ["Overview", "Setup", "Config", "Check", "Exercises", "Recap"];
  for (const name of NAMES) {
    const { cells, metadata } = await loadNotebook(pathOf(name));
    const prose = cells.filter(({ cell_type }) => cell_type === "markdown")
      .map(({ source }) => source).join("\n");
    const heads = [...prose.matchAll(/^## (.+)$/gm)].map(([, head = ""]) => head);
    assertEquals(parts.filter((part) => heads.includes(part)), parts, name);
    assertEquals(prose.match(/^# .+$/gm)?.length, 1, `${name}: one title`);
    const code = cells.filter((cell) => cell.cell_type === "code");
    assert(code.every(({ outputs, execution_count }) => outputs.length === 0 && !execution_count));
    const text = code.map(({ source }) => source).join("\n");
    const begun = text.match(/BEGIN SOLUTION/g)?.length ?? 0;
    assert(begun >= 3, `${name}: exercises`);
    assertEquals(text.match(/END SOLUTION/g)?.length, begun);
    assertEquals(
      injectParameters({ cells, metadata, nbformat: 4, nbformat_minor: 5 }, {
        run: "b",
        profile: "tiny",
        settings: ["seed=1"],
      }).cells.length,
      cells.length + 1,
    );
  }
});

/** A copy of a notebook whose cells, but for the parameters, stand twice. */
async function doubled(outputs: string, name: string): Promise<string> {
  const notebook = await loadNotebook(pathOf(name));
  const cells = notebook.cells.flatMap((cell) =>
    cell.cell_type !== "code" || cellTags(cell).includes("parameters")
      ? [cell]
      : [cell, { ...cell, id: `${cell.id}-again` }]
  );
  const path = join(outputs, `${name}.ipynb`);
  await saveNotebook(path, { ...notebook, cells });
  return path;
}

Deno.test("legacy rules, no model, every cell run twice: 01 and 02 run through", async () => {
  await inProjectFolder(async (outputs) => {
    const settings = ["data.max_rows=160", "data.cleaning=legacy", "model.base=nowhere"];
    for (const name of ["01_clean", "02_split"]) {
      await run(outputs, await doubled(outputs, name), settings);
    }
    const plots = [...Deno.readDirSync(join(outputs, "a", "plots"))].map((file) => file.name);
    assert(plots.includes("01_topics.svg") && plots.includes("02_leaks.svg"), plots.join());
    assert(!plots.includes("01_tokens.svg"), "no tokens without a tokenizer");
  });
});

Deno.test("00 stops at a model that is not there, with the remedy in the error", async () => {
  await inProjectFolder(async (outputs) => {
    const path = pathOf("00_check");
    const error = await assertRejects(
      () => run(outputs, path, ["model.base=nowhere"]),
      NotebookRunError,
    );
    assertStringIncludes(error.message, "model folder is missing");
    assertStringIncludes(error.message, 'profile = "tiny"');
  });
});

Deno.test("02 without 01 says which notebook to run first", async () => {
  await inProjectFolder(async (outputs) => {
    const path = pathOf("02_split");
    const error = await assertRejects(() => run(outputs, path, []), NotebookRunError);
    assertStringIncludes(error.message, "Run 01_clean (deno task clean) first");
  });
});
