import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { formatNotebook, loadNotebook, saveNotebook } from "@lib/notebook/notebook_file.ts";
import { injectParameters } from "@lib/notebook/parameters.ts";
import { inProjectFolder, type TestCell, writeNotebook } from "./notebook_fixture.ts";

const PARAMETERS: TestCell = { source: 'const run = "a";\nlet steps = 1;', tags: ["parameters"] };

Deno.test("reading names what is wrong with a notebook", async () => {
  await inProjectFolder(async (folder) => {
    const path = join(folder, "bad.ipynb");
    await assertRejects(() => loadNotebook(path), Error, "no such file");
    await Deno.writeTextFile(path, '{"cells": [');
    await assertRejects(() => loadNotebook(path), Error, "expected JSON");
    await Deno.writeTextFile(path, '{"nbformat": 3, "nbformat_minor": 0, "worksheets": []}');
    await assertRejects(() => loadNotebook(path), Error, "expected nbformat 4");
  });
});

Deno.test("a notebook is written with an id for every cell and lines as Jupyter keeps them", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, ["one\ntwo", "three"]);
    const notebook = await loadNotebook(path);
    for (const cell of notebook.cells) cell.id = "the-same";
    const written = JSON.parse(formatNotebook(notebook));
    const ids = written.cells.map(({ id }: { id: string }) => id);
    assertEquals(new Set(ids).size, 3);
    assertEquals(ids[0], "the-same");
    assertEquals(written.cells[1].source, ["one\n", "two"]);
  });
});

Deno.test("a failed write leaves the notebook as it was, and no half file", async () => {
  await inProjectFolder(async (folder) => {
    const notebook = await loadNotebook(await writeNotebook(folder, ["1"]));
    const target = join(folder, "taken.ipynb");
    await Deno.mkdir(join(target, "full"), { recursive: true }); // cannot be replaced by a file
    await assertRejects(() => saveNotebook(target, notebook), Error, "Cannot write the notebook");
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).toSorted();
    assertEquals(names, ["taken.ipynb", "test.ipynb"]);
  });
});

Deno.test("parameters follow their cell, in its own kind of declaration", async () => {
  await inProjectFolder(async (folder) => {
    const notebook = await loadNotebook(await writeNotebook(folder, [PARAMETERS, "run"]));
    const injected = injectParameters(notebook, { run: 'b"', steps: 2 });
    assertEquals(
      injected.cells[2]?.source,
      '// Set by the runner\nconst run = "b\\"";\nlet steps = 2;',
    );
    const again = injectParameters(injected, { run: "c" });
    assertEquals(again.cells.length, injected.cells.length, "the earlier cell is replaced");
    assert(again.cells[2]?.source.includes('const run = "c";'));
    assertEquals(injectParameters(again, {}).cells.length, 3, "no parameters: no cell");
  });
});

Deno.test("a parameter that is not declared is refused", async () => {
  await inProjectFolder(async (folder) => {
    const notebook = await loadNotebook(await writeNotebook(folder, [PARAMETERS]));
    assertThrows(() => injectParameters(notebook, { runs: "b" }), Error, "declares run, steps");
    const plain = await loadNotebook(await writeNotebook(folder, ["1"]));
    assertThrows(() => injectParameters(plain, { run: "b" }), Error, 'tagged "parameters"');
  });
});
