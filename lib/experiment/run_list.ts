/** The runs that are there. */
import { closest } from "@lib/closest.ts";
import { outputsFolder, Run, RunError } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";

/** Names of the folders under the outputs that hold a configuration, sorted. */
export async function listRuns(outputs?: string): Promise<string[]> {
  const folder = outputsFolder(outputs);
  if (!await exists(folder)) return [];
  const names: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory && await exists(`${folder}/${name}/config.json`)) names.push(name);
  }
  return names.sort();
}

/**
 * Opens a run that is there, and makes none.
 *
 * @throws {RunError} no such run, with the nearest name
 */
export async function openExistingRun(name: string, outputs?: string): Promise<Run> {
  const names = await listRuns(outputs);
  if (names.includes(name)) return await Run.open(name, outputs);
  const guess = closest(name, names);
  throw new RunError(
    `Run '${name}': expected a run under ${outputsFolder(outputs)}, found ` +
      `${names.length === 0 ? "none at all" : names.join(", ")}.` +
      (guess === null ? "" : ` Did you mean '${guess}'?`),
  );
}
