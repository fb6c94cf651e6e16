/**
 * The notebooks handed in: one file a student, or a folder each.
 *
 * @module
 */
import { join } from "node:path";
import type { Notebook } from "@lib/notebook/notebook_file.ts";

/** One notebook that a student handed in. */
export interface HandedIn {
  readonly student: string;
  readonly path: string;
  /** When it was last changed, in milliseconds. */
  readonly changedAt: number;
}

/** A folder with nothing to grade. */
export class SubmissionsError extends Error {
  override readonly name = "SubmissionsError";
}

async function filesOf(folder: string, student?: string): Promise<HandedIn[]> {
  const files: HandedIn[] = [];
  for await (const { name, isDirectory, isFile } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (name.startsWith(".")) continue; // .ipynb_checkpoints, .git
    if (isDirectory) files.push(...await filesOf(path, student ?? name));
    if (!isFile || !name.endsWith(".ipynb")) continue;
    const { mtime } = await Deno.stat(path);
    const changedAt = mtime?.getTime() ?? 0;
    files.push({ student: student ?? name.replace(/\.ipynb$/, ""), path, changedAt });
  }
  return files;
}

/**
 * Lists what was handed in, by student. A file in `folder` itself is a student's by its name; all
 * files below a folder of it are that student's. Links are not followed.
 *
 * @throws {SubmissionsError} where there is no notebook
 */
export async function listHandedIn(folder: string): Promise<readonly HandedIn[]> {
  const files = await filesOf(folder).catch((error: unknown) => {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw error;
    }
    throw new SubmissionsError(
      `${folder}: expected a folder with notebooks handed in, found none.`,
    );
  });
  if (files.length > 0) {
    return files.toSorted((a, b) =>
      a.student.localeCompare(b.student) || a.path.localeCompare(b.path)
    );
  }
  throw new SubmissionsError(
    `${folder}: expected notebooks, one STUDENT.ipynb or one folder a student, found no .ipynb file.`,
  );
}

/** A notebook's title: the first heading of its prose. */
export function titleOf(notebook: Notebook): string {
  const prose = notebook.cells.find(({ cell_type }) => cell_type === "markdown")?.source ?? "";
  return /^#\s+(.*)$/m.exec(prose)?.[1]?.trim() ?? "";
}

/** A notebook of the course, as far as recognising it takes. */
export interface Known {
  readonly name: string;
  readonly notebook: Notebook;
}

/** Which notebook of the course this is: by the file's name, else by its title. */
export function recognise(
  path: string,
  notebook: Notebook,
  course: readonly Known[],
): Known | undefined {
  const file = path.replace(/^.*[\\/]/, "");
  return course.find(({ name }) => file.startsWith(name)) ??
    course.find((known) => titleOf(known.notebook) === titleOf(notebook));
}
