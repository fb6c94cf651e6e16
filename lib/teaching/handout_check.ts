/**
 * Finds out whether a student's version that has run failed where it should and nowhere else.
 *
 * @module
 */
import type { CodeCell, Notebook } from "@lib/notebook/notebook_file.ts";
import { exerciseNumber } from "./exercises.ts";

/** A cell of an executed notebook that ended in an error. */
export interface FailedCell {
  readonly id: string;
  /** The exercise it belongs to, if any. */
  readonly exercise: number | undefined;
  /** The error's name and message. */
  readonly error: string;
  /** Whether a check of the course failed, rather than the code itself. */
  readonly byCheck: boolean;
}

const isCode = (cell: Notebook["cells"][number]): cell is CodeCell => cell.cell_type === "code";

/** Cells of an executed notebook that ended in an error. */
export function failedCells(notebook: Notebook): readonly FailedCell[] {
  return notebook.cells.filter(isCode).flatMap(({ id = "", outputs }) =>
    outputs.filter(({ output_type }) => output_type === "error").map(({ ename, evalue }) => ({
      id,
      exercise: exerciseNumber(id),
      error: `${ename}: ${evalue}`,
      byCheck: /^✗ /.test(String(evalue)),
    }))
  );
}

/**
 * What is wrong with a student's version that has run: a cell that fails and is no exercise, an
 * exercise that passes unsolved, or one that fails by anything but its checks.
 */
export function handoutProblems(notebook: Notebook): readonly string[] {
  const failed = failedCells(notebook);
  const strays = failed.filter(({ exercise }) => exercise === undefined)
    .map(({ id, error }) => `cell "${id}" is no exercise and fails: ${error}`);
  const numbers = new Set(
    notebook.cells.map(({ id }) => exerciseNumber(id)).filter((one) => one !== undefined),
  );
  const exercises = [...numbers].flatMap((number) => {
    const own = failed.filter(({ exercise }) => exercise === number);
    const [first] = own;
    if (!first) return [`exercise ${number} passes although it is not solved`];
    const other = own.find(({ byCheck }) => !byCheck);
    return other ? [`exercise ${number} fails by its code, not by a check: ${other.error}`] : [];
  });
  return [...strays, ...exercises];
}
