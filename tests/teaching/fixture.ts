/** A small course notebook and submissions of it, for tests. */
import type { Notebook } from "@lib/notebook/notebook_file.ts";
import { examine } from "@lib/teaching/examination.ts";
import type { ExerciseResult } from "@lib/teaching/exercise_result.ts";
import { takeApart } from "@lib/teaching/exercises.ts";
import { DEFAULT_LIMITS, type Limits } from "@lib/teaching/limits.ts";
import { studentSource } from "@lib/teaching/solution.ts";
import { studentParts } from "@lib/teaching/submission.ts";

/** Cells by id; a text beginning with `#` is prose. */
export function notebookOf(cells: Readonly<Record<string, string>>): Notebook {
  return {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: Object.entries(cells).map(([id, source]) =>
      source.startsWith("#")
        ? { cell_type: "markdown", id, metadata: {}, source }
        : { cell_type: "code", id, metadata: {}, source, execution_count: null, outputs: [] }
    ),
  };
}

/** The pristine notebook: three exercises on a few cells. */
export const CELLS = {
  "title": "# 90 · A small notebook",
  "setup": 'import { check, checkThat } from "@lib/notebook/mod.ts";',
  "factor": "const factor = 3;\nconst numbers = [1, 2, 3];\nnumbers.push(4);",
  "unused": 'await Deno.writeTextFile("/not/there", "never run in grading");',
  "exercises": "## Exercises",
  "exercise-1": `function scaled(values: readonly number[]): number[] {
  // BEGIN SOLUTION
  // Hint: the cell above has the factor.
  return values.map((value) => factor * value);
  // END SOLUTION
}
check("three numbers", scaled([1, 2, 3]), [3, 6, 9]);
check("the notebook's own", scaled(numbers), numbers.map((value) => factor * value));`,
  "exercise-2": `import { seededRandom } from "@lib/random.ts";

function total(values: readonly number[]): number {
  // BEGIN SOLUTION
  return values.reduce((sum, value) => sum + value, 0);
  // END SOLUTION
}
const drawn = Array.from({ length: 3 }, seededRandom(1));
checkThat("a total is found", total(drawn) > 0);
check("nothing at all", total([]), 0);`,
  "exercise-2-more": `const [first, ...others]: number[] = scaled([total([1, 2]), 5]);
check("both together", [first, ...others], [9, 15]);`,
  "exercise-3": `async function later(value: number): Promise<number> {
  // BEGIN SOLUTION
  await new Promise((go) => setTimeout(go, 1));
  return value + 1;
  // END SOLUTION
}
check("one later", await later(1), 2);`,
} as const;

export const PRISTINE: Notebook = notebookOf(CELLS);

/** A submission: the student's version, some of its cells replaced. */
export function submission(changes: Readonly<Record<string, string>>): Notebook {
  const blank = Object.entries(CELLS).map(([id, source]) => [id, studentSource(source)] as const);
  return notebookOf({ ...Object.fromEntries(blank), ...changes });
}

/** A pristine cell with its solution (the lines between the markers) replaced. */
export function solved(id: keyof typeof CELLS, code: string): string {
  return studentSource(CELLS[id]).replace("// your code here", () => code);
}

/** Right solutions of the exercises. */
export const RIGHT = {
  "exercise-1": CELLS["exercise-1"],
  "exercise-2": CELLS["exercise-2"],
  "exercise-3": CELLS["exercise-3"],
};

/** Examines a submission of the small notebook. */
export async function examineSmall(
  notebook: Notebook,
  limits: Partial<Limits> = {},
): Promise<readonly ExerciseResult[]> {
  const apart = await takeApart(PRISTINE);
  const parts = await studentParts(apart.exercises, notebook);
  const scratch = await Deno.realPath(await Deno.makeTempDir({ prefix: "grade-test-" }));
  try {
    return await examine(apart, parts, { scratch, limits: { ...DEFAULT_LIMITS, ...limits } });
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

/** The outcomes in the order of the exercises. */
export const outcomes = (results: readonly ExerciseResult[]) =>
  results.map(({ outcome }) => outcome);
