/** `deno task handout`: student, clean and solution versions of the notebooks, and an index page. */
import { join, resolve } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { writeFileAtomic } from "@lib/files.ts";
import { interruptible } from "@lib/notebook/interrupt.ts";
import { formatNotebook, loadNotebook } from "@lib/notebook/notebook_file.ts";
import { Progress } from "@lib/notebook/progress.ts";
import { optionLines, parseOptions, reportFailure, type TaskOption } from "@lib/tasks/cli.ts";
import { chosenNames, courseNames, NOTEBOOKS } from "@lib/teaching/course.ts";
import {
  cleanVersion,
  describeNotebook,
  indexPage,
  solutionVersion,
  studentVersion,
  type Version,
} from "@lib/teaching/handout.ts";
import { checkStudentRun, writeSolutionRuns } from "@lib/teaching/handout_runs.ts";

const OPTIONS = {
  out: { type: "string", value: "DIR", help: "where to write (default outputs/handout)" },
  notebook: { type: "string", value: "NAME", help: "one notebook (default all)" },
  run: { type: "boolean", help: "run the notebooks, so that solution versions have outputs" },
  check: { type: "boolean", help: "run student versions: exercises fail, nothing else may" },
  quiet: { type: "boolean", short: "q", help: "no progress" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

const USAGE = "Writes the versions of the notebooks that are handed out: student/ (to fill in), " +
  "clean/\n(solved) and solution/ (solved, marked), and index.html.\n\n" +
  "Usage: deno task handout [options]\n";

/** A student's version that does not fail as it should. */
class HandoutError extends Error {
  override readonly name = "HandoutError";
}

const MAKE: Readonly<Record<Version, typeof studentVersion>> = {
  student: studentVersion,
  clean: cleanVersion,
  solution: solutionVersion,
};

/** Writes the versions of one notebook. */
async function writeVersions(name: string, out: string): Promise<void> {
  const notebook = await loadNotebook(join(NOTEBOOKS, `${name}.ipynb`));
  for (const [version, make] of Object.entries(MAKE)) {
    await writeFileAtomic(join(out, version, `${name}.ipynb`), formatNotebook(make(notebook)));
  }
}

/** The index names every notebook that is there, whichever was written last. */
async function writeIndex(out: string): Promise<void> {
  const entries = [];
  for (const name of await courseNames(join(out, "student"))) {
    const path = join(NOTEBOOKS, `${name}.ipynb`);
    entries.push(describeNotebook(name, await loadNotebook(path)));
  }
  await writeFileAtomic(join(out, "index.html"), indexPage(entries));
}

/** What a command line asks for. */
interface HandoutTask {
  readonly out: string;
  /** The notebooks to write. */
  readonly names: readonly string[];
  readonly run: boolean;
  readonly check: boolean;
  readonly quiet: boolean;
}

/** Runs the student versions. @returns what is wrong with them */
async function checkAll(
  { names, quiet }: HandoutTask,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const problems: string[] = [];
  const total = names.length;
  await using progress = new Progress("Student versions", { total, unit: "notebooks", quiet });
  for (const name of names) {
    progress.update(progress.done, name);
    const student = studentVersion(await loadNotebook(join(NOTEBOOKS, `${name}.ipynb`)));
    const found = await checkStudentRun(name, student, { signal });
    problems.push(...found.map((problem) => `${name}: ${problem}`));
    progress.add();
  }
  return problems;
}

/** Runs the solution versions, and the notebooks on which they rest. */
async function runAll({ names, out, quiet }: HandoutTask, signal: AbortSignal): Promise<void> {
  const last = names.at(-1) ?? "";
  const all = (await courseNames()).filter((name) => name <= last);
  const total = all.length;
  await using progress = new Progress("Solution versions", { total, unit: "notebooks", quiet });
  await writeSolutionRuns(all, new Set(names), join(out, "solution"), {
    signal,
    onNotebook: (name) => progress.update(all.indexOf(name), name),
  });
  progress.update(total);
}

async function writeAll(task: HandoutTask, signal: AbortSignal): Promise<void> {
  for (const name of task.names) await writeVersions(name, task.out);
  await writeIndex(task.out);
  if (task.run) await runAll(task, signal);
  const problems = task.check ? await checkAll(task, signal) : [];
  if (problems.length === 0) return;
  throw new HandoutError(
    "Student versions: expected every exercise to fail by its checks and nothing else to fail, " +
      `found\n${problems.join("\n")}`,
  );
}

async function handout(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) return console.log(`${USAGE}\n${optionLines(OPTIONS)}`);
  const { out, notebook } = values;
  const task: HandoutTask = {
    out: typeof out === "string"
      ? resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), out)
      : join(PROJECT_ROOT, "outputs", "handout"),
    names: await chosenNames(typeof notebook === "string" ? notebook : undefined),
    run: values["run"] === true,
    check: values["check"] === true,
    quiet: values["quiet"] === true,
  };
  await interruptible((signal) => writeAll(task, signal));
  console.log(join(task.out, "index.html"));
}

if (import.meta.main) {
  try {
    await handout(Deno.args);
    Deno.exit(0);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
