import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
// @ts-types="../../lib/corpus/std_csv.d.ts"
import { parse } from "@std/csv";
import { join } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { FileReadError } from "@lib/files.ts";
import { JsonlFile } from "@lib/jsonl_file.ts";
import { formatNotebook, loadNotebook, saveNotebook } from "@lib/notebook/notebook_file.ts";
import { type Grade, loadGrades } from "@lib/teaching/grade_log.ts";
import { feedback, gradesCsv, statusOf } from "@lib/teaching/grade_report.ts";
import { openPristine, PristineError } from "@lib/teaching/grading.ts";
import { DEFAULT_LIMITS } from "@lib/teaching/limits.ts";
import { studentSource } from "@lib/teaching/solution.ts";
import { CELLS, notebookOf } from "./fixture.ts";

const GRADE: Grade = {
  student: "=cmd()",
  notebook: "90_small",
  key: "k1",
  exercises: [
    {
      exercise: 1,
      outcome: "passed",
      checks: [{ name: "a", ok: true, text: "a: equal" }],
      error: "",
    },
    { exercise: 2, outcome: "time limit", checks: [], error: "It took longer than 2 s." },
    { exercise: 4, outcome: "failed", checks: [], error: "Error: ``` help is not defined" },
  ],
  changed: [1],
  problem: "",
};

async function inTempFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "grade-test-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("the CSV has a column an exercise and no formula", () => {
  const lost: Grade = { ...GRADE, student: "নীলা", exercises: [], changed: [], problem: "torn" };
  assertEquals(parse(gradesCsv([GRADE, lost])), [
    ["student", "notebook", "exercise_1", "exercise_2", "exercise_4", "score", "of", "status"],
    ["'=cmd()", "90_small", "1", "0", "0", "1", "3", statusOf(GRADE)],
    ["নীলা", "90_small", "", "", "", "0", "0", "not graded: torn"],
  ]);
  assertEquals(
    statusOf(GRADE),
    "graded; exercise 2: time limit; given lines changed in exercise 1 (ignored)",
  );
});

Deno.test("feedback says what was expected and what to do, and cannot be broken out of", () => {
  const text = feedback(GRADE);
  assertStringIncludes(text, "**1 of 3** exercises are right.");
  assertStringIncludes(text, "Does a loop ever end?");
  assertStringIncludes(text, "````text\nError: ``` help is not defined\n````");
  assertStringIncludes(text, "if you declared `help` in another cell");
  assertStringIncludes(text, "the original ones count");
});

Deno.test("the log outlives a torn line and refuses a foreign one", () =>
  inTempFolder(async (folder) => {
    const path = join(folder, "grades.jsonl");
    assertEquals(await loadGrades(path), []);
    await new JsonlFile(path).append(GRADE);
    await Deno.writeTextFile(path, '{"student": "to', { append: true });
    // Submissions that end together, as those of `--jobs 2`.
    const log = new JsonlFile<Grade>(path);
    await Promise.all(["k2", "k3"].map((key) => log.append({ ...GRADE, key })));
    assertEquals((await loadGrades(path)).map(({ key }) => key), ["k1", "k2", "k3"]);
    await Deno.writeTextFile(path, '{"student": 1}', { append: true });
    const error = await assertRejects(() => loadGrades(path), FileReadError);
    assertStringIncludes(error.message, "graded anew");
  }));

Deno.test("a notebook whose own solutions fail is not graded against", () =>
  inTempFolder(async (folder) => {
    const wrong = CELLS["exercise-1"].replace("factor * value);\n  // END", "value);\n  // END");
    await saveNotebook(
      join(folder, "90_small.ipynb"),
      notebookOf({ ...CELLS, "exercise-1": wrong }),
    );
    const error = await assertRejects(
      () => openPristine("90_small", { limits: DEFAULT_LIMITS, folder }),
      PristineError,
    );
    assertStringIncludes(error.message, "exercise 1: failed: three numbers");
  }));

async function gradeTask(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "grade", ...args],
    cwd: PROJECT_ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("deno task grade: files and folders, good, empty and broken; again without work", () =>
  inTempFolder(async (folder) => {
    const pristine = await loadNotebook(`${PROJECT_ROOT}notebooks/00_check.ipynb`);
    const empty = {
      ...pristine,
      cells: pristine.cells.map((cell) => ({ ...cell, source: studentSource(cell.source) })),
    };
    await Deno.mkdir(join(folder, "deepa", ".ipynb_checkpoints"), { recursive: true });
    await saveNotebook(join(folder, "anik.ipynb"), pristine);
    await saveNotebook(join(folder, "deepa", "00_check.ipynb"), empty);
    await saveNotebook(join(folder, "deepa", ".ipynb_checkpoints", "00_check.ipynb"), pristine);
    await Deno.writeTextFile(join(folder, "bina.ipynb"), formatNotebook(pristine).slice(0, 900));
    await saveNotebook(join(folder, "chhoton.ipynb"), notebookOf({ "a": "# Something else" }));

    const first = await gradeTask(folder, "--jobs", "2");
    assertEquals(first.code, 0, first.stderr);
    const [header, ...rows] = parse(await Deno.readTextFile(join(folder, "grades.csv")));
    assertEquals(header?.slice(0, 2), ["student", "notebook"]);
    const scores = rows.map((row) => [row[0], row[1], row.at(-3), row.at(-2)]);
    assertEquals(scores, [
      ["anik", "00_check", String(pristineCount(pristine)), String(pristineCount(pristine))],
      ["bina", "", "0", "0"],
      ["chhoton", "", "0", "0"],
      ["deepa", "00_check", "0", String(pristineCount(pristine))],
    ]);
    const told = await Deno.readTextFile(join(folder, "feedback", "deepa", "00_check.md"));
    assertStringIncludes(told, "expected 4.25390625, found undefined");

    const log = await Deno.readTextFile(join(folder, "grades.jsonl"));
    const begun = await gradeTask(folder, "--quiet");
    assertEquals(begun.code, 0);
    assertEquals(begun.stderr, "");
    assertEquals(await Deno.readTextFile(join(folder, "grades.jsonl")), log, "nothing anew");
    assert(first.stderr.includes("its own solutions pass"));
  }));

const pristineCount = (notebook: Awaited<ReturnType<typeof loadNotebook>>) =>
  notebook.cells.filter(({ id }) => /^exercise-\d+$/.test(id ?? "")).filter((cell) =>
    cell.cell_type === "code"
  ).length;

Deno.test("deno task grade: what cannot be graded is said with the remedy", () =>
  inTempFolder(async (folder) => {
    const nothing = await gradeTask(folder);
    assertEquals(nothing.code, 1);
    assertStringIncludes(nothing.stderr, "one STUDENT.ipynb or one folder a student");
    const misspelt = await gradeTask(folder, "--notebook", "03_trian");
    assertEquals([
      misspelt.code,
      misspelt.stderr.includes("Expected") || misspelt.stderr.includes("expected"),
    ], [1, true]);
    assertEquals((await gradeTask(folder, "--jobs", "many")).code, 2);
    assertEquals((await gradeTask()).code, 2);
  }));
