/**
 * Runs of handouts: solution versions for their outputs, student versions for their failures.
 *
 * @module
 */
import { join } from "node:path";
import {
  cellTags,
  loadNotebook,
  type Notebook,
  saveNotebook,
} from "@lib/notebook/notebook_file.ts";
import { runNotebook } from "@lib/notebook/runner.ts";
import { copyFolder } from "./copy_folder.ts";
import { NOTEBOOKS } from "./course.ts";
import { GRADING_PARAMETERS, prepareEarlier } from "./earlier_runs.ts";
import { solutionVersion } from "./handout.ts";
import { handoutProblems } from "./handout_check.ts";

/** How handouts are run. */
export interface HandoutRunOptions {
  readonly signal?: AbortSignal;
  /** Hears of each notebook before it is run. */
  readonly onNotebook?: (name: string) => void;
}

const withoutInjected = (notebook: Notebook): Notebook => ({
  ...notebook,
  cells: notebook.cells.filter((cell) => !cellTags(cell).includes("injected-parameters")),
});

async function inScratch(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "handout-" });
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true }).catch(() => {});
  }
}

/**
 * Runs notebooks in order, on the profile that fits this machine, and writes their solution
 * versions with the outputs.
 *
 * @param names all from the first on: each rests on what the ones before it write
 * @param wanted those to be written
 * @throws {NotebookRunError} where one fails
 */
export async function writeSolutionRuns(
  names: readonly string[],
  wanted: ReadonlySet<string>,
  folder: string,
  { signal, onNotebook }: HandoutRunOptions = {},
): Promise<void> {
  await inScratch(async (scratch) => {
    for (const name of names) {
      onNotebook?.(name);
      const source = join(scratch, `${name}.ipynb`);
      await saveNotebook(
        source,
        solutionVersion(await loadNotebook(join(NOTEBOOKS, `${name}.ipynb`))),
      );
      const { notebook } = await runNotebook(source, {
        cwd: NOTEBOOKS,
        parameters: { run: "handout" },
        env: { QLORA_OUTPUTS: join(scratch, "outputs") },
        onCell: () => {},
        ...(signal ? { signal } : {}),
      });
      if (!wanted.has(name)) continue;
      await Deno.mkdir(folder, { recursive: true });
      await saveNotebook(join(folder, `${name}.ipynb`), withoutInjected(notebook));
    }
  });
}

/**
 * Runs a student's version on the kernel at smoke size, behind what the earlier notebooks wrote.
 *
 * @param name of the notebook in the course
 * @returns what is wrong with it; nothing where every exercise fails by its checks and only those
 */
export async function checkStudentRun(
  name: string,
  student: Notebook,
  { signal, onNotebook }: HandoutRunOptions = {},
): Promise<readonly string[]> {
  let problems: readonly string[] = [];
  const stop = signal ? { signal } : {};
  const earlier = await prepareEarlier(name, { ...stop, ...(onNotebook ? { onNotebook } : {}) });
  await inScratch(async (scratch) => {
    const source = join(scratch, `${name}.ipynb`);
    const outputs = join(scratch, "outputs");
    await copyFolder(earlier, outputs);
    await saveNotebook(source, student);
    const { notebook } = await runNotebook(source, {
      cwd: NOTEBOOKS,
      parameters: GRADING_PARAMETERS,
      env: { QLORA_OUTPUTS: outputs },
      onCell: () => {},
      keepGoing: true,
      ...stop,
    });
    problems = handoutProblems(notebook);
  });
  return problems;
}
