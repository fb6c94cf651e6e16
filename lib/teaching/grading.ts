/**
 * Grades everything that was handed in: each submission for itself, none in the way of another.
 *
 * @module
 */
import { join } from "node:path";
import { loadNotebook, type Notebook } from "@lib/notebook/notebook_file.ts";
import { injectParameters } from "@lib/notebook/parameters.ts";
import { NOTEBOOKS } from "./course.ts";
import { GRADING_PARAMETERS, prepareEarlier, type PrepareOptions } from "./earlier_runs.ts";
import { examine } from "./examination.ts";
import { takeApart, type TakenApart } from "./exercises.ts";
import type { Grade } from "./grade_log.ts";
import type { Limits } from "./limits.ts";
import { makePrograms } from "./programs.ts";
import { type HandedIn, type Known, recognise } from "./submissions_folder.ts";
import { referenceParts, studentParts } from "./submission.ts";

/** A notebook of the course whose own solutions do not pass. */
export class PristineError extends Error {
  override readonly name = "PristineError";
}

/** A notebook of the course, ready to be graded against. */
export interface Pristine extends Known {
  readonly apart: TakenApart;
  /** Run folders of the earlier notebooks, where the exercises need them. */
  readonly outputs?: string;
}

const hasParameters = ({ cells }: Notebook) =>
  cells.some(({ metadata }) =>
    Array.isArray(metadata.tags) && metadata.tags.includes("parameters")
  );

async function hash(...texts: readonly string[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(texts));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 32);
}

async function inScratch<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "grade-" }));
  try {
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true }).catch(() => {});
  }
}

/** Options of {@linkcode openPristine}. */
export interface PristineOptions extends PrepareOptions {
  readonly limits: Limits;
  /** Folder of the notebooks. @default the course's */
  readonly folder?: string;
}

/**
 * Opens a notebook of the course for grading, runs what its exercises rest on, and grades its own
 * solutions first: a grader that fails those would fail everybody.
 *
 * @throws {PristineError} naming the exercise and what was found
 */
export async function openPristine(name: string, options: PristineOptions): Promise<Pristine> {
  const { limits, folder = NOTEBOOKS, signal } = options;
  const source = await loadNotebook(join(folder, `${name}.ipynb`));
  const notebook = hasParameters(source) ? injectParameters(source, GRADING_PARAMETERS) : source;
  const apart = await takeApart(notebook);
  const parts = referenceParts(apart.exercises);
  const programs = await makePrograms(apart, parts);
  const rests = `${programs.examiner}${programs.examinee}`.includes("openRun(");
  const outputs = rests ? { outputs: await prepareEarlier(name, options) } : {};
  const results = await inScratch((scratch) =>
    examine(apart, parts, { scratch, limits, ...outputs, ...(signal ? { signal } : {}) })
  );
  signal?.throwIfAborted();
  const [wrong] = results.filter(({ outcome }) => outcome !== "passed");
  if (!wrong) return { name, notebook: source, apart, ...outputs };
  const said = wrong.checks.find(({ ok }) => !ok)?.text ?? (wrong.error || "it has no check");
  throw new PristineError(
    `${name}: expected its own solutions to pass, found exercise ${wrong.exercise}: ` +
      `${wrong.outcome}: ${said}. Repair the notebook, then grade.`,
  );
}

/** What grading one submission needs. */
export interface GradeOptions {
  readonly limits: Limits;
  readonly signal?: AbortSignal;
  /** The notebook that everything handed in is taken for. */
  readonly only?: Pristine;
}

/**
 * Grades one notebook handed in. Whatever is wrong with it is in the grade, never thrown.
 *
 * @param known gives a grade found earlier for the same key
 */
export async function gradeOne(
  { student, path }: HandedIn,
  course: readonly Pristine[],
  options: GradeOptions,
  known: (key: string) => Grade | undefined = () => undefined,
): Promise<Grade> {
  const { limits, only, signal } = options;
  const none = { student, notebook: only?.name ?? "", key: "", exercises: [], changed: [] };
  let submission: Notebook;
  try {
    submission = await loadNotebook(path);
  } catch (error) {
    return { ...none, problem: error instanceof Error ? error.message : String(error) };
  }
  const found = only ?? recognise(path, submission, course);
  const pristine = course.find(({ name }) => name === found?.name);
  if (!pristine) {
    const problem = "it is none of the course's notebooks, by its file name and its title. " +
      "Say which with --notebook.";
    return { ...none, problem };
  }
  const key = await hash(
    student,
    JSON.stringify(submission.cells.map(({ source }) => source)),
    JSON.stringify(pristine.notebook.cells.map(({ source }) => source)),
    JSON.stringify(limits),
  );
  const before = known(key);
  if (before) return before;
  const parts = await studentParts(pristine.apart.exercises, submission);
  const outputs = pristine.outputs === undefined ? {} : { outputs: pristine.outputs };
  const exercises = await inScratch((scratch) =>
    examine(pristine.apart, parts, { scratch, limits, ...outputs, ...(signal ? { signal } : {}) })
  );
  const changed = parts.filter((part) => part.changed.length > 0).map(({ exercise }) => exercise);
  return { student, notebook: pristine.name, key, exercises, changed, problem: "" };
}

/** Runs work over a list, some at a time; what one throws is the caller's in the end. */
export async function inParallel<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.max(1, atOnce) }, worker));
}
