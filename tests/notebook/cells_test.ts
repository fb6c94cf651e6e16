import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { joinCells } from "@lib/notebook/cells.ts";
import { checkNotebooks, formatProblem } from "@lib/notebook/check_cells.ts";
import { loadNotebook } from "@lib/notebook/notebook_file.ts";
import { inProjectFolder, type TestCell, writeNotebook } from "./notebook_fixture.ts";
import { ROOT } from "./kernel_fixture.ts";

const IMPORT = 'import { escapeHtml } from "@lib/notebook/mod.ts";';

const GOOD: readonly TestCell[] = [
  `${IMPORT}\nconst rows = [1, 2];\nrows`,
  "[1].length",
  `${IMPORT}\nconst rows = ["a"].map(escapeHtml);\nconst upper: string[] = rows;`,
  "await Promise.resolve(upper)",
  "function twice(n: number) { return 2 * n; }\ntwice(2)",
  "function twice(s: string) { return s + s; }\ntwice(rows[0] ?? '').length",
];

const BAD: readonly TestCell[] = [
  "const rows = [1, 2];\nrows",
  '\nimport { missing } from "@lib/notebook/mod.ts";\nmissing;',
  'const size: number =\n  "s";\nsize',
  "let rows = 3;\nrows++",
  "const half = ;",
  "using file = { [Symbol.dispose]() {} };\nfile",
  "// import.meta in a comment is fine\nimport.meta.url",
  "const forgotten = 1;",
  "nowhere",
];

Deno.test("every line of a joined notebook knows its cell", async () => {
  await inProjectFolder(async (folder) => {
    const notebook = await loadNotebook(await writeNotebook(folder, GOOD));
    const { source, places, problems } = await joinCells(notebook, "good");
    assertEquals(problems, []);
    const lines = source.split("\n");
    const placeOf = (text: string) => places[lines.findIndex((line) => line.includes(text))];
    assertEquals(placeOf("const upper"), { cell: 3, line: 3 });
    assertEquals(placeOf("await Promise"), { cell: 4, line: 1 });
    assertEquals(source.match(/import \{ escapeHtml \}/g)?.length, 1, "imported once, at the top");
    assertEquals(placeOf("export {}"), undefined);
  });
});

Deno.test("problems are told by notebook, cell and line", async () => {
  await inProjectFolder(async (folder) => {
    const good = await writeNotebook(folder, GOOD, "good.ipynb");
    const bad = await writeNotebook(folder, BAD, "bad.ipynb");
    const problems = await checkNotebooks([good, bad], { root: ROOT });
    const short = problems.map(({ notebook, cell, line, code }) =>
      [
        notebook === bad ? "bad" : notebook,
        `${cell}:${line}`,
        code,
      ].join(" ")
    );
    assertEquals(short, [
      "bad 2:2 TS2305",
      "bad 3:1 TS2322",
      "bad 4:1 notebook",
      "bad 5:1 syntax",
      "bad 6:1 notebook",
      "bad 7:2 notebook",
      "bad 8:1 no-unused-vars",
      "bad 9:1 TS2304",
    ]);
    const [missing] = problems.map(formatProblem);
    assertStringIncludes(missing ?? "", `${bad}:2:2:10 TS2305`);
    assertStringIncludes(missing ?? "", "no exported member 'missing'");
  });
});

Deno.test("a module that is not there is told by its cell", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, ["1", 'import { a } from "@lib/nowhere.ts";\na']);
    const [problem] = await checkNotebooks([path], { root: ROOT });
    assertEquals([problem?.notebook, problem?.cell, problem?.line], [path, 2, 1]);
    assertStringIncludes(problem?.message ?? "", "nowhere.ts");
  });
});

Deno.test("what the runner assigns may be declared with let, only there", async () => {
  await inProjectFolder(async (folder) => {
    const path = await writeNotebook(folder, [
      { source: 'let run = "default";', tags: ["parameters"] },
      "let other = run;\nother",
    ]);
    const problems = await checkNotebooks([path], { root: ROOT });
    assertEquals(problems.map(({ cell, code }) => [cell, code]), [[2, "prefer-const"]]);
  });
});

Deno.test("the notebooks of the course have no problem", async () => {
  const folder = join(ROOT, "notebooks");
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const paths = names.filter((name) => name.endsWith(".ipynb")).map((name) => join(folder, name));
  const problems = await checkNotebooks(paths.toSorted(), { root: ROOT });
  assertEquals(problems.map(formatProblem), []);
});
