import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { z } from "zod";
import { type CellEvent, NotebookRunError, runNotebook } from "@lib/notebook/runner.ts";
import { eventually, inProjectFolder, isAlive, writeNotebook } from "./notebook_fixture.ts";
import { KERNEL_DENO, ROOT } from "./kernel_fixture.ts";

const outputSchema = z.looseObject({
  output_type: z.string(),
  text: z.array(z.string()).optional(),
  data: z.record(z.string(), z.unknown()).optional(),
});
const executed = z.looseObject({
  nbformat_minor: z.int(),
  metadata: z.looseObject({ kernelspec: z.looseObject({ name: z.string() }) }),
  cells: z.array(z.looseObject({
    id: z.string(),
    metadata: z.looseObject({ execution: z.record(z.string(), z.iso.datetime()).optional() }),
    execution_count: z.int().nullish(),
    outputs: z.array(outputSchema).default([]),
  })),
});
const loadExecuted = async (path: string) =>
  executed.parse(JSON.parse(await Deno.readTextFile(path)));

const SETUP =
  'import { Progress, setupNotebook } from "@lib/notebook/mod.ts";\nawait setupNotebook();';
const silent = { onCell: () => {}, deno: KERNEL_DENO } as const;

Deno.test("a notebook is run and written with its outputs", async () => {
  await inProjectFolder(async (folder) => {
    const source = await writeNotebook(folder, [
      SETUP,
      { source: 'const run = "a";', tags: ["parameters"] },
      'console.log("এক"); console.log("দুই"); console.error("three");',
      'await Deno.jupyter.display({ "text/plain": "old" }, { raw: true, display_id: "d" });',
      'await Deno.jupyter.display({ "text/plain": "new" },\n' +
      '  { raw: true, display_id: "d", update: true });',
      'const progress = new Progress("Rows", { total: 2 });\nprogress.update(1);\n' +
      "await progress.finish();",
      "run",
    ]);
    const before = await Deno.readTextFile(source);
    const output = join(folder, "made", "executed.ipynb");
    const events: CellEvent[] = [];
    const run = await runNotebook(source, {
      output,
      parameters: { run: "খ" },
      deno: KERNEL_DENO,
      onCell: (event) => events.push(event),
    });
    assertEquals(await Deno.readTextFile(source), before, "the source is left alone");
    assertEquals([run.cells, run.output], [7, output]);

    const { cells, metadata, nbformat_minor } = await loadExecuted(output);
    const code = cells.slice(1);
    assertEquals([metadata.kernelspec.name, nbformat_minor], ["deno", 5]);
    assertEquals(code.map(({ execution_count }) => execution_count), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert(code.every((cell) => cell.metadata.execution?.["shell.execute_reply"]));
    assertEquals(code[3]?.outputs.map(({ text }) => text), [["এক\n", "দুই\n"], ["three\n"]]);
    assertEquals(
      code[4]?.outputs[0]?.data,
      { "text/plain": ["new"] },
      "updated where it was shown",
    );
    assertEquals(code[5]?.outputs, []);
    assertStringIncludes(String(code[7]?.outputs[0]?.data?.["text/plain"]), "খ");

    const ends = events.filter(({ kind }) => kind === "end");
    assertEquals(ends.map(({ cell, status }) => [cell, status]).at(-1), [7, "ok"]);
    assertEquals(ends.length, 7, "the injected cell is not counted");
    const lines = events.filter(({ kind }) => kind === "progress").map(({ progress }) => progress);
    assertStringIncludes(lines.at(-1) ?? "", "Rows  50 %  1/2 steps");
  });
});

Deno.test("the first error stops the run and is told with its cell", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, [
      "console.log(String(Deno.pid));",
      'console.log("so far");\nthrow new RangeError("the answer is 41");',
      'console.log("never");',
    ]);
    const error = await assertRejects(() => runNotebook(path, silent), NotebookRunError);
    assertEquals([error.cell, error.output], [2, path]);
    for (const part of ["code cell 2", "RangeError: the answer is 41", "2 | throw new RangeE"]) {
      assertStringIncludes(error.message, part);
    }
    const { cells } = await loadExecuted(path);
    assertEquals(cells[2]?.outputs.map(({ output_type }) => output_type), ["stream", "error"]);
    assertEquals(cells[3]?.outputs, []);
    const pid = Number(cells[1]?.outputs[0]?.text?.join(""));
    assert(pid > 1, "the kernel's pid was read");
    assert(!(await isAlive(pid)), "the kernel is reaped");
  });
});

Deno.test("with keepGoing the cells behind an error run too, and each error stays in its cell", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, [
      'throw new RangeError("first");',
      'console.log("still here");',
      'throw new Error("✗ second");',
    ]);
    const { notebook } = await runNotebook(path, { ...silent, keepGoing: true });
    const types = notebook.cells.flatMap((cell) =>
      cell.cell_type === "code" ? [cell.outputs.map(({ output_type }) => output_type)] : []
    );
    assertEquals(types, [["error"], ["stream"], ["error"]]);
  });
});

Deno.test("a cell that outlasts its time is ended, listening or not", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, [
      'import { setupNotebook } from "@lib/notebook/mod.ts";\nawait setupNotebook();',
      "await new Promise((go) => setTimeout(go, 60_000));",
    ]);
    const begun = performance.now();
    const error = await assertRejects(
      () => runNotebook(path, { ...silent, timeoutMs: 1000 }),
      NotebookRunError,
    );
    assertStringIncludes(error.message, "it took longer than 1 s");
    assert(performance.now() - begun < 8000);
  });
});

Deno.test("a stopped run writes what has run", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, [
      'import { interruptible, setupNotebook } from "@lib/notebook/mod.ts";\n' +
      'await setupNotebook();\nconsole.log("kept");',
      "await interruptible(() => new Promise(() => {}));",
    ]);
    const stop = new AbortController();
    const error = await assertRejects(
      () =>
        runNotebook(path, {
          ...silent,
          signal: stop.signal,
          onCell: ({ cell, kind }) => {
            if (cell === 2 && kind === "start") setTimeout(() => stop.abort("enough"), 300);
          },
        }),
      NotebookRunError,
    );
    assertStringIncludes(error.message, "Interrupted by");
    const { cells } = await loadExecuted(path);
    assertEquals(cells[1]?.outputs[0]?.text, ["kept\n"]);
  });
});

Deno.test({
  name: "a kernel does not outlive a runner that is killed",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await inProjectFolder(async (folder) => {
      const pidFile = join(folder, "pid");
      const path = await writeNotebook(folder, [
        'import { setupNotebook } from "@lib/notebook/mod.ts";\nawait setupNotebook();',
        `await Deno.writeTextFile(${JSON.stringify(pidFile)}, String(Deno.pid));\n` +
        "await new Promise((go) => setTimeout(go, 60_000));",
      ]);
      const script = join(folder, "run.ts");
      await Deno.writeTextFile(
        script,
        'import { runNotebook } from "@lib/notebook/runner.ts";\n' +
          `await runNotebook(${JSON.stringify(path)}, { onCell: () => {} });\n`,
      );
      const runner = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--config", join(ROOT, "deno.json"), script],
        stdout: "null",
        stderr: "null",
      }).spawn();
      const pidThere = () => Deno.stat(pidFile).then(({ size }) => size > 0, () => false);
      await eventually(pidThere, "the cell runs", 15_000);
      const pid = Number(await Deno.readTextFile(pidFile));
      assert(await isAlive(pid));
      runner.kill("SIGKILL");
      await runner.status;
      await eventually(async () => !(await isAlive(pid)), "the kernel ends");
    });
  },
});
