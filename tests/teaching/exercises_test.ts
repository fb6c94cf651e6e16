import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadParser } from "@lib/notebook/cell_syntax.ts";
import { ExerciseError, takeApart } from "@lib/teaching/exercises.ts";
import { changedNames, freeNames } from "@lib/teaching/free_names.ts";
import { sliceFor } from "@lib/teaching/slice.ts";
import { SolutionMarkerError, solutionRegions, studentSource } from "@lib/teaching/solution.ts";
import { studentParts } from "@lib/teaching/submission.ts";
import { CELLS, notebookOf, PRISTINE, solved, submission } from "./fixture.ts";

const parse = await loadParser();

Deno.test("free names: scopes, patterns, types and properties", () => {
  const cases: readonly (readonly [code: string, free: readonly string[]])[] = [
    ["const { a, b: { c = d }, ...rest } = e; rest.f;", ["d", "e"]],
    ["function f(x: T, { y } = z) { const w = x + y; return w + v; }", ["z", "v"]],
    ["for (const i of list) { sum += i; } i;", ["list", "sum", "i"]],
    ["try { go(); } catch (error) { say(error); }", ["go", "say"]],
    ["const o = { key: value, short, [computed]: 1, method() { return inner; } };", [
      "value",
      "short",
      "computed",
      "inner",
    ]],
    ["type T = Other; const x = y as Thing; const z = w satisfies Q;", ["y", "w"]],
    ["class A { #p = q; m(n: number) { return n + this.#p; } }", ["q"]],
    ['import { imported } from "x"; imported(1);', []],
    ["const f = async (a = b) => { await a(c => c + d); };", ["b", "d"]],
  ];
  for (const [code, free] of cases) {
    assertEquals([...freeNames(parse(code))].toSorted(), free.toSorted(), code);
  }
});

Deno.test("changed names: assignments, counting and methods", () => {
  const code = "a.b[0] = 1; [c, d.e] = f; g++; h.push(1); if (x) { y.z.set(1); } k(l);";
  assertEquals([...changedNames(parse(code))].toSorted(), ["a", "c", "d", "g", "h", "y"]);
});

Deno.test("a slice holds what is used, what changes it, and nothing else", async () => {
  const { cells } = await takeApart(notebookOf({
    "one": 'import { a, b as c } from "m";\nconst unused = a();',
    "two": "const list: number[] = [];\nconst other = slow();\nlist.push(c);\nawait table(list);",
    "three": "const parent = new Map(list.entries());\nfor (const x of list) parent.set(x, 0);",
    "four": "await train(list);",
    "five": 'const model = await own("model", open);\nconst adapter = await attach(model);',
  }));
  assertEquals(sliceFor(new Set(["parent", "Math"]), cells), [
    'import { b as c } from "m";',
    "const list: number[] = [];\nlist.push(c);",
    "const parent = new Map(list.entries());\nfor (const x of list) parent.set(x, 0);",
  ]);
  const opened = sliceFor(new Set(["model"]), cells);
  assertEquals(opened.length, 1);
  assert(opened[0]?.includes("attach(model)"), "what is opened is taken with its cell");
});

Deno.test("solutions are found, replaced, and hints kept", () => {
  assertEquals(solutionRegions(CELLS["exercise-1"]), [{ first: 1, last: 4 }]);
  assertEquals(
    studentSource(CELLS["exercise-1"]).split("\n").slice(0, 4),
    [
      "function scaled(values: readonly number[]): number[] {",
      "  // Hint: the cell above has the factor.",
      "  // your code here",
      "}",
    ],
  );
  for (const source of ["// END SOLUTION", "// BEGIN SOLUTION", "// BEGIN SOLUTION\n".repeat(2)]) {
    assertThrows(() => solutionRegions(source), SolutionMarkerError);
  }
});

Deno.test("exercises are told by their cells' ids", async () => {
  const { exercises, cells } = await takeApart(PRISTINE);
  assertEquals(exercises.map(({ number, names }) => [number, names]), [
    [1, ["scaled"]],
    [2, ["total"]],
    [3, ["later"]],
  ]);
  assertEquals(cells.map(({ id }) => id), ["setup", "factor", "unused"]);
  const stray = { "cell": CELLS["exercise-1"] };
  await assertRejects(() => takeApart(notebookOf(stray)), ExerciseError, "Rename the cell");
  const nameless = { "exercise-1": "// BEGIN SOLUTION\nanswer();\n// END SOLUTION" };
  await assertRejects(() => takeApart(notebookOf(nameless)), ExerciseError, "declares a function");
});

Deno.test("edited and removed checks are told; formatting and extra lines are not", async () => {
  const { exercises } = await takeApart(PRISTINE);
  const loose = solved("exercise-1", "return [];").replaceAll(", ", ",\n   ");
  const parts = await studentParts(
    exercises,
    submission({
      "exercise-1": `${loose}\nconsole.log("mine");`,
      "exercise-2": solved("exercise-2", "return 0;").replace("total(drawn) > 0", "true"),
      "exercise-3": "async function later() { return 2; }",
    }),
  );
  assertEquals(parts.map(({ changed }) => changed.length), [0, 1, 1]);
  assertEquals(parts[1]?.changed, ['checkThat("a total is found", total(drawn) > 0);']);
  assertEquals(parts.map(({ names }) => names), [["scaled"], ["total"], ["later"]]);
});

Deno.test("a cell whose id was lost is found by what it declares; a lost cell is said", async () => {
  const { exercises } = await takeApart(PRISTINE);
  const parts = await studentParts(
    exercises,
    notebookOf({ "x1": "const a = 1;", "x2": solved("exercise-1", "return [1];") }),
  );
  assertEquals(parts[0]?.names, ["scaled"]);
  assert(parts[1]?.refusal?.includes("keep its cells"));
});
