/** The configuration of a run: what it was begun with, changed by what is asked now. */
import {
  type Config,
  ConfigError,
  isProfile,
  type ProfileName,
  PROFILES,
  resolveConfig,
} from "@lib/config.ts";
import { loadLibrary } from "@lib/engine/library.ts";
import type { Run } from "@lib/experiment/run.ts";
import { loadJson } from "@lib/files.ts";
import { closest } from "@lib/closest.ts";
import { findBaseModel } from "@lib/workflow/local_models.ts";

/** What is asked now; all optional. */
export interface RunConfigOptions {
  /** `auto`: the run's own, else what fits this machine. @default {"auto"} */
  readonly profile?: ProfileName | "auto";
  /** JSON file. */
  readonly file?: string;
  /** `key=value` pairs. */
  readonly set?: readonly string[];
}

/**
 * Resolves a run's configuration: a profile or file asked for now, else the run's own `config.json`,
 * else the profile that fits this machine; then the `set` pairs.
 *
 * @throws {ConfigError} unknown profile, unknown key, wrong value
 */
export async function loadRunConfig(run: Run, options: RunConfigOptions = {}): Promise<Config> {
  const asked = options.profile ?? "auto";
  if (asked !== "auto" && !isProfile(asked)) {
    const guess = closest(asked, Object.keys(PROFILES));
    throw new ConfigError(
      `profile: expected ${Object.keys(PROFILES).join(", ")}, found '${asked}'` +
        (guess === null ? "" : `; did you mean '${guess}'?`),
    );
  }
  const set = options.set ?? [];
  if (options.file !== undefined) {
    const value = await loadJson(options.file, "Give a JSON file with --config FILE.json.");
    const file = { name: options.file, value };
    return resolveConfig({ ...(asked === "auto" ? {} : { profile: asked }), file, set });
  }
  if (asked !== "auto") return resolveConfig({ profile: asked, set });
  const own = await run.loadConfig();
  if (own !== null) return resolveConfig({ file: { name: run.config, value: own }, set });
  return resolveConfig({ profile: (await fittingProfile()).profile, set });
}

/** A profile, and why it was chosen. */
export interface ProfileChoice {
  readonly profile: ProfileName;
  readonly reason: string;
}

/** The seed's profile where a GPU and its model are, else the tiny one. */
export async function fittingProfile(): Promise<ProfileChoice> {
  const { base } = resolveConfig({ profile: "rtx3060" }).model;
  if ((await findBaseModel(base)).folder === null) {
    return { profile: "tiny", reason: `${base} is not on this machine` };
  }
  try {
    const { description } = loadLibrary("cuda");
    return { profile: "rtx3060", reason: `${description.device} and the model are here` };
  } catch {
    return { profile: "tiny", reason: "no usable CUDA build of the engine is here" };
  }
}
