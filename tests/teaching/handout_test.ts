import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { formatNotebook, loadNotebook } from "@lib/notebook/notebook_file.ts";
import { courseNames } from "@lib/teaching/course.ts";
import { takeApart } from "@lib/teaching/exercises.ts";
import {
  cleanVersion,
  describeNotebook,
  indexPage,
  solutionVersion,
  studentVersion,
} from "@lib/teaching/handout.ts";
import { failedCells, handoutProblems } from "@lib/teaching/handout_check.ts";
import { checkStudentRun } from "@lib/teaching/handout_runs.ts";
import { notebookOf, PRISTINE } from "./fixture.ts";

const VERSIONS = { student: studentVersion, clean: cleanVersion, solution: solutionVersion };

Deno.test("every notebook of the course: solutions go, hints and everything else stay", async () => {
  for (const name of await courseNames()) {
    const source = await loadNotebook(`${PROJECT_ROOT}notebooks/${name}.ipynb`);
    const { exercises } = await takeApart(source);
    assert(exercises.length >= 3 && exercises.length <= 6, `${name}: 3 to 6 exercises`);
    const student = formatNotebook(studentVersion(source));
    const bySource = new Map(studentVersion(source).cells.map((cell) => [cell.id, cell.source]));
    for (const { id, source } of exercises.flatMap(({ cells }) => cells)) {
      const emptied = source.replaceAll(
        / *\/\/ BEGIN SOLUTION\n[^]*?( *)\/\/ END SOLUTION/g,
        "$1// your code here",
      );
      const given = (bySource.get(id) ?? "").replaceAll(/ *\/\/ Hint:.*\n/g, "");
      assertEquals(given, emptied, `${name} ${id}`);
    }
    assertStringIncludes(student, "// your code here");
    assertEquals(/(BEGIN|END) SOLUTION/.test(student), false);
    assertEquals(/(BEGIN|END) SOLUTION/.test(formatNotebook(cleanVersion(source))), false);
    const given = studentVersion(source).cells.filter(({ source }) => !/your code/.test(source));
    assert(given.every((cell) => source.cells.some((one) => one.source === cell.source)));
  }
});

Deno.test("the versions are the same bytes each time, whatever ran before", () => {
  const ran = structuredClone(PRISTINE);
  for (const cell of ran.cells) {
    if (cell.cell_type !== "code") continue;
    cell.execution_count = 7;
    cell.outputs = [{ output_type: "stream", name: "stdout", text: "এক" }];
    cell.metadata = { execution: { "iopub.status.busy": "2026-01-01T00:00:00Z" } };
  }
  for (const [name, make] of Object.entries(VERSIONS)) {
    assertEquals(formatNotebook(make(PRISTINE)), formatNotebook(make(PRISTINE)), name);
    assertEquals(formatNotebook(make(ran)), formatNotebook(make(PRISTINE)), name);
  }
});

Deno.test("the index leads to every version and escapes what it shows", () => {
  const notebook = notebookOf({
    "title": "# 90 · A <b> & more",
    "overview": "## Overview\n\n| **Goal** | Know _what_ `runs` |",
    "exercise-1": "1",
    "exercise-1-more": "2",
    "exercise-2": "3",
  });
  const entry = describeNotebook("90_small", notebook);
  assertEquals(entry, {
    name: "90_small",
    title: "90 · A <b> & more",
    goal: "Know what runs",
    exercises: 2,
  });
  const page = indexPage([entry]);
  assertStringIncludes(page, "90 · A &lt;b&gt; &amp; more");
  for (const version of Object.keys(VERSIONS)) {
    assertStringIncludes(page, `href="${version}/90_small.ipynb"`);
  }
});

Deno.test("a student's version that fails elsewhere, by its code or not at all is told", () => {
  const failing = (ename: string, evalue: string) => ({ output_type: "error", ename, evalue });
  const notebook = notebookOf({
    "plain": "a();",
    "exercise-1": "b();",
    "exercise-2": "c();",
    "exercise-3": "d();",
  });
  const errors = [
    failing("ReferenceError", "a is not defined"),
    undefined,
    failing("TypeError", "x is undefined"),
    failing("Error", "✗ a check"),
  ];
  notebook.cells.forEach((cell, at) => {
    const error = errors[at];
    if (cell.cell_type === "code" && error) cell.outputs = [error];
  });
  assertEquals(failedCells(notebook).map(({ byCheck }) => byCheck), [false, false, true]);
  assertEquals(handoutProblems(notebook), [
    'cell "plain" is no exercise and fails: ReferenceError: a is not defined',
    "exercise 1 passes although it is not solved",
    "exercise 2 fails by its code, not by a check: TypeError: x is undefined",
  ]);
});

Deno.test("the student's version of the first notebook fails its exercises and nothing else", async () => {
  const source = await loadNotebook(`${PROJECT_ROOT}notebooks/00_check.ipynb`);
  assertEquals(await checkStudentRun("00_check", studentVersion(source)), []);
});
