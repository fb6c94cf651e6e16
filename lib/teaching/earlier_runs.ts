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
import { courseNames, NOTEBOOKS } from "./course.ts";

/** Name of the run whose folder is handed to each examination. */
const RUN = "grading";

/** Parameters under which notebooks are prepared and graded. */
export const GRADING_PARAMETERS: Readonly<Record<string, ParameterValue>> = {
  run: RUN,
  profile: "tiny",
  settings: SMOKE_SETTINGS,
};

/** Parts of a run folder that no later notebook reads. */
const UNREAD = ["checkpoints", "notebooks", "plots"];

async function hashOf(paths: readonly string[]): Promise<string> {
  const texts = await Promise.all(paths.map((path) => Deno.readTextFile(path)));
  const bytes = new TextEncoder().encode(texts.join("\0") + SMOKE_SETTINGS.join("\0"));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
}

/** Options of {@linkcode prepareEarlier}. */
export interface PrepareOptions {
  readonly signal?: AbortSignal;
  /** Hears of each notebook before it is run. */
  readonly onNotebook?: (name: string) => void;
}

/**
 * Runs the notebooks before `name` at smoke size, unless that was done before.
 *
 * @returns the folder with the run's folder in it
 * @throws {NotebookRunError} where one of them fails
 */
export async function prepareEarlier(
  name: string,
  { signal, onNotebook }: PrepareOptions = {},
): Promise<string> {
  const earlier = (await courseNames()).filter((one) => one < name);
  const paths = earlier.map((one) => join(NOTEBOOKS, `${one}.ipynb`));
  const kept = join(PROJECT_ROOT, ".build", "grading", await hashOf(paths));
  if (await exists(kept)) return kept;
  const part = `${kept}.${Deno.pid}.part`;
  try {
    for (const [at, path] of paths.entries()) {
      onNotebook?.(earlier[at] ?? "");
      await runNotebook(path, {
        output: join(part, RUN, "notebooks", `${earlier[at]}.ipynb`),
        parameters: GRADING_PARAMETERS,
        env: { QLORA_OUTPUTS: part },
        onCell: () => {},
        ...(signal ? { signal } : {}),
      });
    }
    for (const folder of UNREAD) {
      await Deno.remove(join(part, RUN, folder), { recursive: true }).catch(() => {});
    }
    await Deno.mkdir(part, { recursive: true });
    await Deno.rename(part, kept);
  } finally {
    await Deno.remove(part, { recursive: true }).catch(() => {});
  }
  return kept;
}
