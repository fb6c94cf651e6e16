/**
 * What the earlier notebooks write, made once and kept: exercises of a later one rest on it.
 *
 * @module
 */
import { join } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import type { ParameterValue } from "@lib/notebook/parameters.ts";
import { runNotebook } from "@lib/notebook/runner.ts";
import { SMOKE_SETTINGS } from "@lib/notebook/smoke.ts";
import { copyFolder } from "./copy_folder.ts";
import { courseNames, NOTEBOOKS } from "./course.ts";

/** Name of the run whose folder is handed to each examination. */
const RUN = "grading";

/** Parameters under which notebooks are prepared and graded. */
export const GRADING_PARAMETERS: Readonly<Record<string, ParameterValue>> = {
  run: RUN,
  profile: "tiny",
  settings: SMOKE_SETTINGS,
};

/** Where the runs are kept. */
const KEPT = join(PROJECT_ROOT, ".build", "grading");
/** Milliseconds after which a run may go once a newer one is made. */
const KEPT_MS = 24 * 3600 * 1000;

/** Parts of a run folder that no later notebook reads. */
const UNREAD = ["checkpoints", "notebooks", "plots"];

/** Milliseconds of the latest change below a folder: what the library writes may change with it. */
async function changedAt(folder: string): Promise<number> {
  let latest = 0;
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    const at = isDirectory ? await changedAt(path) : (await Deno.stat(path)).mtime?.getTime() ?? 0;
    latest = Math.max(latest, at);
  }
  return latest;
}

async function hashOf(paths: readonly string[]): Promise<string> {
  const texts = await Promise.all(paths.map((path) => Deno.readTextFile(path)));
  const library = await changedAt(join(PROJECT_ROOT, "lib"));
  const bytes = new TextEncoder().encode(JSON.stringify([texts, SMOKE_SETTINGS, library]));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
}

/** Options of {@linkcode prepareEarlier}. */
export interface PrepareOptions {
  readonly signal?: AbortSignal;
  /** Hears of each notebook before it is run. */
  readonly onNotebook?: (name: string) => void;
}

/**
 * Runs the notebooks before `name` at smoke size, each behind what the ones before it wrote, unless
 * that was done before.
 *
 * @returns the folder with the run's folder in it
 * @throws {NotebookRunError} where one of them fails
 */
export async function prepareEarlier(name: string, options: PrepareOptions = {}): Promise<string> {
  const earlier = (await courseNames()).filter((one) => one < name);
  const kept = join(KEPT, await hashOf(earlier.map((one) => join(NOTEBOOKS, `${one}.ipynb`))));
  if (await exists(kept)) return kept;
  const part = `${kept}.${Deno.pid}.part`;
  try {
    await Deno.mkdir(part, { recursive: true });
    await dropOld();
    const last = earlier.at(-1);
    if (last !== undefined) {
      await copyFolder(await prepareEarlier(last, options), part);
      await runBehind(last, part, options);
    }
    await Deno.rename(part, kept).catch(async (error: unknown) => {
      if (!await exists(kept)) throw error; // else another process was quicker
    });
  } finally {
    await Deno.remove(part, { recursive: true }).catch(() => {});
  }
  return kept;
}

/** Takes away runs of earlier versions: those that are older than a day. */
async function dropOld(): Promise<void> {
  for await (const { name } of Deno.readDir(KEPT)) {
    const path = join(KEPT, name);
    const { mtime } = await Deno.stat(path).catch(() => ({ mtime: null }));
    if (mtime === null || Date.now() - mtime.getTime() < KEPT_MS) continue;
    await Deno.remove(path, { recursive: true }).catch(() => {}); // another process was quicker
  }
}

/** Runs one notebook on the outputs in `folder`; what no later one reads is taken away. */
async function runBehind(
  name: string,
  folder: string,
  { signal, onNotebook }: PrepareOptions,
): Promise<void> {
  onNotebook?.(name);
  await runNotebook(join(NOTEBOOKS, `${name}.ipynb`), {
    output: join(folder, RUN, "notebooks", `${name}.ipynb`),
    parameters: GRADING_PARAMETERS,
    env: { QLORA_OUTPUTS: folder },
    onCell: () => {},
    ...(signal ? { signal } : {}),
  });
  for (const unread of UNREAD) {
    await Deno.remove(join(folder, RUN, unread), { recursive: true }).catch(() => {});
  }
}
