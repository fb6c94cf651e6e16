/** Opening a run from a notebook's parameters. */
import type { Config, ProfileName } from "@lib/config.ts";
import { loadRunConfig } from "@lib/experiment/run_config.ts";
import { Run } from "@lib/experiment/run.ts";

/** A run's folder and its configuration. */
export interface OpenedRun {
  readonly run: Run;
  readonly config: Config;
}

/**
 * Opens a run by name and resolves its configuration: the given profile, else the one the run was
 * begun with, else what fits this machine; then the settings on top.
 *
 * @param name folder under `outputs/`
 * @param profile `auto`, `tiny`, `rtx3060` or `full`
 * @param settings `key=value` pairs
 */
export async function openRun(
  name: string,
  profile: ProfileName | "auto" = "auto",
  settings: readonly string[] = [],
): Promise<OpenedRun> {
  const run = await Run.open(name);
  return { run, config: await loadRunConfig(run, { profile, set: settings }) };
}
