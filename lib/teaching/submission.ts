/**
 * What a student wrote, taken out of the notebook they handed in.
 *
 * Only the exercise cells are read, and of those only what declares a solution, a helper or an
 * import. Given statements come from the pristine notebook, whatever became of them here.
 *
 * @module
 */
import { nodesIn, type SyntaxNode } from "@lib/notebook/cell_syntax.ts";
import type { CodeCell, Notebook } from "@lib/notebook/notebook_file.ts";
import { type CellStatements, type Exercise, type Statement, takeCellApart } from "./exercises.ts";

/** A student's part of one exercise. */
export interface StudentPart {
  readonly exercise: number;
  /** Statements to run, in the student's order. */
  readonly statements: readonly Statement[];
  /** Names of the exercise that the student declares. */
  readonly names: readonly string[];
  /** Given statements that the student changed or took out: what was given is used. */
  readonly changed: readonly string[];
  /** Why the part cannot be run, in words for the student. */
  readonly refusal?: string;
}

/** Modules that a solution may import. */
const MODULES = /^(@lib\/[\w/]+\.ts|@std\/(assert|csv)|zod|node:[\w/]+)$/;

/** Text without what formatting changes. */
const bare = (text: string) => text.replaceAll(/\s+/g, "").replaceAll(/,([)\]}])/g, "$1");

function importsIn(node: SyntaxNode): readonly SyntaxNode[] {
  const isImport = node.type === "ImportDeclaration" || node.type === "ImportExpression" ||
    (node.type === "CallExpression" && nodesIn(node.callee).some(({ type }) => type === "Import"));
  const inner = Object.values(node).flatMap(nodesIn).flatMap(importsIn);
  return isImport ? [node, ...inner] : inner;
}

/** Imports that grading does not allow: of a file, of the network, or of a name made at run time. */
function forbiddenImport(statements: readonly Statement[]): string | undefined {
  for (const { node, text } of statements) {
    for (const one of importsIn(node)) {
      const [source] = nodesIn(one.source ?? one.arguments);
      const [attributes] = [...nodesIn(one.attributes), ...nodesIn(one.options)];
      const name = source?.type === "StringLiteral" ? String(source.value) : "";
      if (MODULES.test(name) && attributes === undefined) continue;
      return text.slice(one.start - node.start, one.end - node.start);
    }
  }
  return undefined;
}

/** The student's cells that answer a pristine one: same id, or a declaration of the same name. */
function counterparts(
  pristine: CellStatements,
  exercise: Exercise,
  cells: readonly CodeCell[],
): readonly CodeCell[] {
  const sameId = cells.filter(({ id }) => id === pristine.id);
  if (sameId.length > 0) return sameId;
  const declares = new RegExp(`\\b(function|const|let|class)\\s+(${exercise.names.join("|")})\\b`);
  const isSolution = pristine.statements.some(({ solution }) => solution);
  return isSolution ? cells.filter(({ source }) => declares.test(source)).slice(0, 1) : [];
}

function isKept(statement: Statement, pristine: CellStatements, exercise: Exercise): boolean {
  const given = pristine.statements.filter(({ solution }) => !solution);
  if (given.some(({ text }) => bare(text) === bare(statement.text))) return false;
  if (statement.names.some((name) => exercise.names.includes(name))) return true;
  if (statement.node.type === "ImportDeclaration") return true;
  const givenNames = given.flatMap(({ names }) => names);
  return statement.names.length > 0 &&
    statement.names.every((name) => !givenNames.includes(name));
}

/** Gives the part of one exercise. */
async function partOf(exercise: Exercise, cells: readonly CodeCell[]): Promise<StudentPart> {
  const statements: Statement[] = [];
  const changed: string[] = [];
  const base = { exercise: exercise.number, names: [] };
  for (const pristine of exercise.cells) {
    const found = counterparts(pristine, exercise, cells);
    const written: Statement[] = [];
    for (const cell of found) {
      try {
        const { statements: all } = await takeCellApart(pristine.id, cell.source);
        written.push(...all);
      } catch (error) {
        if (!pristine.statements.some(({ solution }) => solution)) continue;
        const why = error instanceof Error ? error.message : String(error);
        const refusal = `The cell is not valid TypeScript: ${why}.`;
        return { ...base, statements: [], changed: [], refusal };
      }
    }
    const bareWritten = new Set(written.map(({ text }) => bare(text)));
    const missing = pristine.statements.filter(({ solution, text }) =>
      !solution && !bareWritten.has(bare(text))
    );
    changed.push(...missing.map(({ text }) => text));
    statements.push(...written.filter((one) => isKept(one, pristine, exercise)));
  }
  const names = exercise.names.filter((name) => statements.some((one) => one.names.includes(name)));
  if (names.length === 0) {
    const refusal = `Expected the exercise's cell with ${exercise.names.join(", ")}, found ` +
      "nothing of it. Start from the handed-out notebook and keep its cells.";
    return { ...base, statements: [], changed, refusal };
  }
  const forbidden = forbiddenImport(statements);
  const part = { exercise: exercise.number, statements, names, changed };
  if (forbidden === undefined) return part;
  const refusal = `\`${forbidden}\` is not available in grading: a solution may import the ` +
    "course's own modules (@lib/…) by their plain names.";
  return { ...part, refusal };
}

/** Takes a student's parts out of the notebook they handed in, one for each exercise. */
export function studentParts(
  exercises: readonly Exercise[],
  submission: Notebook,
): Promise<readonly StudentPart[]> {
  const cells = submission.cells.filter((cell): cell is CodeCell => cell.cell_type === "code");
  return Promise.all(exercises.map((exercise) => partOf(exercise, cells)));
}

/** The pristine notebook's own solutions as a submission: grading must find them right. */
export function referenceParts(exercises: readonly Exercise[]): readonly StudentPart[] {
  return exercises.map(({ number, cells, names }) => ({
    exercise: number,
    statements: cells.flatMap(({ statements }) => statements.filter(({ solution }) => solution)),
    names,
    changed: [],
  }));
}
