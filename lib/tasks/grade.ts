/** `deno task grade FOLDER`: grades notebooks handed in, each apart; a CSV and feedback a student. */
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { writeFileAtomic } from "@lib/files.ts";
import { JsonlFile } from "@lib/jsonl_file.ts";
import { interruptible } from "@lib/notebook/interrupt.ts";
import { Progress } from "@lib/notebook/progress.ts";
import {
  optionLines,
  parseOptions,
  reportFailure,
  type TaskOption,
  UsageError,
} from "@lib/tasks/cli.ts";
import { loadNotebook } from "@lib/notebook/notebook_file.ts";
import { chosenNames, NOTEBOOKS } from "@lib/teaching/course.ts";
import { type Grade, loadGrades } from "@lib/teaching/grade_log.ts";
import { feedback, gradesCsv, scoreOf, statusOf } from "@lib/teaching/grade_report.ts";
import { gradeOne, inParallel, openPristine, type Pristine } from "@lib/teaching/grading.ts";
import { DEFAULT_LIMITS, type Limits } from "@lib/teaching/limits.ts";
import { type HandedIn, listHandedIn, recognise } from "@lib/teaching/submissions_folder.ts";

const OPTIONS = {
  out: { type: "string", value: "FILE.csv", help: "the grades (default FOLDER/grades.csv)" },
  notebook: { type: "string", value: "NAME", help: "take everything for this notebook" },
  jobs: { type: "string", value: "N", help: "submissions at a time (default half the cores)" },
  "exercise-seconds": { type: "string", value: "N", help: "limit of one exercise (default 20)" },
  "notebook-seconds": { type: "string", value: "N", help: "limit of a notebook (default 300)" },
  "memory-mb": { type: "string", value: "N", help: "memory of a submission (default 2048)" },
  again: { type: "boolean", help: "grade anew what was graded before" },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

const USAGE =
  "Grades the exercises of notebooks handed in: FOLDER holds one STUDENT.ipynb or one " +
  "folder\na student. Writes a CSV and, beside it, feedback/STUDENT/NOTEBOOK.md.\n\n" +
  "Usage: deno task grade [options] FOLDER\n";

/** What a command line asks for. */
interface GradeTask {
  readonly folder: string;
  readonly csv: string;
  readonly notebook: string | undefined;
  readonly jobs: number;
  readonly limits: Limits;
  readonly again: boolean;
  readonly quiet: boolean;
}

type Values = ReturnType<typeof parseOptions>["values"];

function positive(values: Values, name: string, otherwise: number): number {
  const value = values[name];
  if (value === undefined) return otherwise;
  const number = Number(value);
  if (Number.isFinite(number) && number > 0) return number;
  throw new UsageError(`--${name}: expected a number above 0, found "${value}".`);
}

function readTask(values: Values, positionals: readonly string[]): GradeTask {
  const [given, ...more] = positionals;
  if (given === undefined || more.length > 0) {
    throw new UsageError(
      `Expected one folder with what was handed in, found ${positionals.length}. See --help.`,
    );
  }
  const from = Deno.env.get("INIT_CWD") ?? Deno.cwd();
  const folder = resolve(from, given);
  const out = values["out"];
  return {
    folder,
    csv: typeof out === "string" ? resolve(from, out) : join(folder, "grades.csv"),
    notebook: typeof values["notebook"] === "string" ? values["notebook"] : undefined,
    jobs: positive(values, "jobs", Math.max(1, Math.floor(availableParallelism() / 2))),
    limits: {
      ...DEFAULT_LIMITS,
      exerciseSeconds: positive(values, "exercise-seconds", DEFAULT_LIMITS.exerciseSeconds),
      notebookSeconds: positive(values, "notebook-seconds", DEFAULT_LIMITS.notebookSeconds),
      memoryMegabytes: positive(values, "memory-mb", DEFAULT_LIMITS.memoryMegabytes),
    },
    again: values["again"] === true,
    quiet: values["quiet"] === true,
  };
}

/** Notebooks of the course that were handed in, by name. */
async function neededNames(task: GradeTask, files: readonly HandedIn[]): Promise<Set<string>> {
  const names = await chosenNames(task.notebook);
  if (task.notebook !== undefined) return new Set(names);
  const course = await Promise.all(
    names.map(async (name) => ({
      name,
      notebook: await loadNotebook(join(NOTEBOOKS, `${name}.ipynb`)),
    })),
  );
  const found = await Promise.all(files.map(async ({ path }) => {
    const notebook = await loadNotebook(path).catch(() => undefined);
    return notebook && recognise(path, notebook, course)?.name;
  }));
  return new Set(found.filter((name) => name !== undefined));
}

/** A path's part that is a plain name on every system. */
const plain = (name: string) =>
  name.replaceAll(/[^\p{L}\p{M}\p{N}._-]/gu, "_").replace(/^\.+/, "_");

async function saveReports(task: GradeTask, grades: readonly Grade[]): Promise<void> {
  await writeFileAtomic(task.csv, gradesCsv(grades));
  for (const grade of grades) {
    const name = plain(grade.notebook || "not_recognised");
    const folder = join(dirname(task.csv), "feedback", plain(grade.student));
    await writeFileAtomic(join(folder, `${name}.md`), feedback(grade));
  }
}

/** Grades everything, with what was graded before where it has not changed. */
async function gradeAll(
  task: GradeTask,
  files: readonly HandedIn[],
  course: readonly Pristine[],
  signal: AbortSignal,
): Promise<readonly Grade[]> {
  const log = task.csv.replace(/(\.csv)?$/, ".jsonl");
  const before = new Map<string, Grade>();
  if (!task.again) { for (const grade of await loadGrades(log)) before.set(grade.key, grade); }
  const written = new JsonlFile<Grade>(log);
  const [only] = task.notebook === undefined ? [] : course;
  const grades = new Map<string, { readonly grade: Grade; readonly changedAt: number }>();
  await using progress = new Progress("Grading", {
    total: files.length,
    unit: "notebooks",
    quiet: task.quiet,
  });
  await inParallel(files, task.jobs, async (file) => {
    if (signal.aborted) return;
    const options = { limits: task.limits, signal, ...(only ? { only } : {}) };
    const grade = await gradeOne(file, course, options, (key) => before.get(key));
    if (signal.aborted) return;
    // Of two files of one student for one notebook the one changed last counts.
    const place = `${grade.student}\0${grade.notebook}\0${grade.problem === "" ? "" : file.path}`;
    if (!(file.changedAt < (grades.get(place)?.changedAt ?? 0))) {
      grades.set(place, { grade, changedAt: file.changedAt });
    }
    if (grade.key !== "" && !before.has(grade.key)) await written.append(grade);
    progress.add(1, `${grade.student}: ${scoreOf(grade)} of ${grade.exercises.length}`);
  });
  return [...grades.values()].map(({ grade }) => grade).toSorted((a, b) =>
    a.student.localeCompare(b.student) || a.notebook.localeCompare(b.notebook)
  );
}

async function grade(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseOptions(OPTIONS, args, true);
  if (values["help"] === true) return console.log(`${USAGE}\n${optionLines(OPTIONS)}`);
  const task = readTask(values, positionals);
  const say = (line: string) => task.quiet || console.error(line);
  await interruptible(async (signal) => {
    const files = await listHandedIn(task.folder);
    const course: Pristine[] = [];
    for (const name of await neededNames(task, files)) {
      const onNotebook = (earlier: string) => say(`${name} rests on ${earlier}: running it once`);
      course.push(await openPristine(name, { limits: task.limits, signal, onNotebook }));
      say(`${name}: its own solutions pass`);
    }
    const grades = await gradeAll(task, files, course, signal);
    await saveReports(task, grades);
    for (const one of grades) {
      const place = `${one.student}  ${one.notebook}`;
      console.log(`${place}  ${scoreOf(one)}/${one.exercises.length}  ${statusOf(one)}`);
    }
    say(`Grades: ${task.csv}\nFeedback: ${join(dirname(task.csv), "feedback")}`);
    signal.throwIfAborted();
  });
}

if (import.meta.main) {
  try {
    await grade(Deno.args);
    Deno.exit(0);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
