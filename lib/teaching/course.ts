/**
 * The course's notebooks as they stand in the project.
 *
 * @module
 */
import { join } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { closest } from "@lib/closest.ts";

/** Folder of the notebooks. */
export const NOTEBOOKS = join(PROJECT_ROOT, "notebooks");

/** A notebook's name that the course does not have. */
export class CourseError extends Error {
  override readonly name = "CourseError";
}

/** Names of the notebooks in order, without `.ipynb`. */
export async function courseNames(folder: string = NOTEBOOKS): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (/^\d\d_.*\.ipynb$/.test(name)) names.push(name.replace(/\.ipynb$/, ""));
  }
  return names.toSorted();
}

/**
 * The names meant by `--notebook`: one, with or without its ending, or all.
 *
 * @throws {CourseError} with the nearest name
 */
export async function chosenNames(
  wanted: string | undefined,
  folder: string = NOTEBOOKS,
): Promise<readonly string[]> {
  const names = await courseNames(folder);
  if (wanted === undefined) return names;
  const name = wanted.replace(/^.*[\\/]/, "").replace(/\.ipynb$/, "");
  const found = names.filter((one) => one === name || one.replace(/_.*/, "") === name);
  if (found.length > 0) return found;
  const guess = closest(name, names);
  throw new CourseError(
    `--notebook: expected one of ${names.join(", ")}, found "${wanted}".` +
      (guess === null ? "" : ` Did you mean ${guess}?`),
  );
}
