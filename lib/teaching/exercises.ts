/**
 * A notebook taken apart for grading: its cells by statement, and its exercises.
 *
 * An exercise is all code cells with an id `exercise-3` or `exercise-3-anything`; at least one of
 * them holds a solution. The statements around the solution are given: declarations and checks.
 *
 * @module
 */
import { declarationsOf, loadParser, type SyntaxNode } from "@lib/notebook/cell_syntax.ts";
import type { Notebook } from "@lib/notebook/notebook_file.ts";
import { type SolutionRegion, solutionRegions } from "./solution.ts";

/** One top-level statement of a cell. */
export interface Statement {
  readonly node: SyntaxNode;
  readonly text: string;
  /** Values it declares; types are left out. */
  readonly names: readonly string[];
  /** Whether the solution stands in it, or it in the solution. */
  readonly solution: boolean;
}

/** A code cell by statement. */
export interface CellStatements {
  readonly id: string;
  readonly source: string;
  readonly statements: readonly Statement[];
}

/** One exercise. */
export interface Exercise {
  readonly number: number;
  readonly cells: readonly CellStatements[];
  /** What the student is to declare. */
  readonly names: readonly string[];
}

/** A notebook taken apart. */
export interface TakenApart {
  /** Code cells that belong to no exercise, in order. */
  readonly cells: readonly CellStatements[];
  readonly exercises: readonly Exercise[];
}

/** A notebook whose exercises cannot be graded. */
export class ExerciseError extends Error {
  override readonly name = "ExerciseError";
}

const EXERCISE_ID = /^exercise-(\d+)(-|$)/;

/** The number of the exercise a cell belongs to, by its id. */
export function exerciseNumber(id: string | undefined): number | undefined {
  const digits = EXERCISE_ID.exec(id ?? "")?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function overlaps(node: SyntaxNode, source: string, regions: readonly SolutionRegion[]): boolean {
  const lineOf = (offset: number) => source.slice(0, offset).split("\n").length - 1;
  const [first, last] = [lineOf(node.start), lineOf(node.end)];
  return regions.some((region) => first <= region.last && region.first <= last);
}

/**
 * Takes a cell's source apart.
 *
 * @throws {SyntaxError} where it is no TypeScript
 */
export async function takeCellApart(id: string, source: string): Promise<CellStatements> {
  const parse = await loadParser();
  const regions = solutionRegions(source);
  const statements = parse(source).map((node) => ({
    node,
    text: source.slice(node.start, node.end),
    names: declarationsOf(node).filter(({ kind }) => kind !== "type").map(({ name }) => name),
    solution: overlaps(node, source, regions),
  }));
  return { id, source, statements };
}

function makeExercise(number: number, cells: readonly CellStatements[]): Exercise {
  const names = cells.flatMap(({ statements }) =>
    statements.filter(({ solution }) => solution).flatMap((statement) => statement.names)
  );
  if (names.length > 0) return { number, cells, names };
  throw new ExerciseError(
    `Exercise ${number}: expected a solution that declares a function or a value between ` +
      `// BEGIN SOLUTION and // END SOLUTION, found none in ${
        cells.map(({ id }) => id).join(", ")
      }.`,
  );
}

/**
 * Takes a notebook apart.
 *
 * @throws {ExerciseError} where a solution stands outside of an exercise, or declares nothing
 * @throws {SyntaxError} where a cell is no TypeScript
 */
export async function takeApart(notebook: Notebook): Promise<TakenApart> {
  const cells: CellStatements[] = [];
  const byNumber = new Map<number, CellStatements[]>();
  for (const cell of notebook.cells) {
    if (cell.cell_type !== "code") continue;
    const parsed = await takeCellApart(cell.id ?? "", cell.source);
    const number = exerciseNumber(cell.id);
    if (number !== undefined) byNumber.set(number, [...byNumber.get(number) ?? [], parsed]);
    else if (parsed.statements.every(({ solution }) => !solution)) cells.push(parsed);
    else {
      throw new ExerciseError(
        `Cell "${cell.id}": expected solutions in cells with an id such as exercise-1, found one ` +
          `here. Rename the cell.`,
      );
    }
  }
  const exercises = [...byNumber].map(([number, parts]) => makeExercise(number, parts));
  return { cells, exercises: exercises.toSorted((a, b) => a.number - b.number) };
}
