/** Step 2, notebook 02_split and `deno task split`: groups, and train, validation and test by group. */
import type { Config } from "@lib/config.ts";
import {
  assertNoLeaks,
  CleanRecord,
  groupRecords,
  loadRecords,
  saveRecords,
  SPLIT_NAMES,
  splitByGroup,
  type SplitRecord,
  type SplitResult,
} from "@lib/corpus/mod.ts";
import type { OnPhase } from "@lib/phases.ts";
import type { Run } from "@lib/experiment/run.ts";
import { saveJson } from "@lib/files.ts";

/** What the step gives and writes. */
export interface SplitStep {
  readonly grouped: readonly SplitRecord[];
  readonly split: SplitResult;
}

/** The clean records of a run. @throws {RunError} when 01_clean has not run */
export async function loadCleanRecords(run: Run): Promise<readonly CleanRecord[]> {
  const path = await run.require(run.cleanRecords, "01_clean (deno task clean)");
  return (await loadRecords(path, CleanRecord)).records;
}

/**
 * Groups and splits the clean records, asserts that nothing leaks, and writes the three parts.
 *
 * @param onPhase told how far each phase is, in texts
 * @throws {CorpusError} naming the first leak; nothing is written then
 */
export async function splitStep(run: Run, config: Config, onPhase?: OnPhase): Promise<SplitStep> {
  const threshold = config.data.near_duplicate_threshold;
  const records = await loadCleanRecords(run);
  const grouped = groupRecords(records, { threshold, onPhase });
  const [train, val, test] = config.data.split;
  const split = splitByGroup(grouped, {
    shares: { train, val, test },
    seed: config.seed,
    maxRecords: config.data.max_samples ?? Infinity,
  });
  assertNoLeaks(split, threshold, onPhase);
  for (const name of SPLIT_NAMES) await saveRecords(run.split(name), split[name]);
  await saveJson(run.splitReport, split.report);
  await run.saveConfig(config);
  return { grouped, split };
}
