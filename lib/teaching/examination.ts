/**
 * Examines one submission: two processes, limits, and what came of each exercise.
 *
 * An exercise that loops, ends its process or takes too much costs itself: the others are examined
 * again in fresh processes.
 *
 * @module
 */
import { join } from "node:path";
import { copyFolder } from "./copy_folder.ts";
import type { ExerciseResult, Outcome } from "./exercise_result.ts";
import type { TakenApart } from "./exercises.ts";
import type { Limits } from "./limits.ts";
import { makePrograms } from "./programs.ts";
import { Sitting, stopped } from "./sitting.ts";
import type { StudentPart } from "./submission.ts";

/** What an examination needs besides the programs. */
export interface ExaminationOptions {
  /** Folder of this submission alone; made and removed by the caller. */
  readonly scratch: string;
  /** Run folders made by the earlier notebooks, copied for each process; none where not needed. */
  readonly outputs?: string;
  readonly limits: Limits;
  readonly signal?: AbortSignal;
}

/** Prepares the folders of one sitting. */
async function prepare(
  notebook: TakenApart,
  parts: readonly StudentPart[],
  { scratch, outputs }: ExaminationOptions,
): Promise<void> {
  const programs = await makePrograms(notebook, parts);
  for (const name of ["examiner", "examinee"] as const) {
    const folder = join(scratch, name);
    await Deno.remove(folder, { recursive: true }).catch(() => {});
    await Deno.mkdir(join(folder, "outputs"), { recursive: true });
    await Deno.writeTextFile(join(folder, "program.ts"), programs[name]);
    if (outputs !== undefined) await copyFolder(outputs, join(folder, "outputs"));
  }
}

async function sit(
  notebook: TakenApart,
  parts: readonly StudentPart[],
  options: ExaminationOptions,
  signal: AbortSignal,
): Promise<readonly ExerciseResult[]> {
  if (parts.length === 0) return [];
  const all = (outcome: Outcome, error: string) =>
    parts.map(({ exercise }) => ({ exercise, outcome, error, checks: [] }));
  if (signal.aborted) return all(...stopped(signal));
  await prepare(notebook, parts, options);
  const sitting = new Sitting(options.limits);
  const ending = await sitting.run(options.scratch, signal);
  if (!ending) return sitting.results;
  const cut = sitting.cutOff(ending);
  const done = new Set([...sitting.results, ...cut ? [cut] : []].map(({ exercise }) => exercise));
  const left = parts.filter(({ exercise }) => !done.has(exercise));
  const results = [...sitting.results, ...cut ? [cut] : []];
  if (cut) return [...results, ...await sit(notebook, left, options, signal)];
  // It did not come to any exercise: one of the parts spoils the program, or all do.
  if (parts.length === 1) return all(ending.outcome, ending.why);
  for (const part of left) results.push(...await sit(notebook, [part], options, signal));
  return results;
}

/**
 * Examines a student's parts.
 *
 * @returns one result for each part, by exercise; parts that cannot be run are not tried
 */
export async function examine(
  notebook: TakenApart,
  parts: readonly StudentPart[],
  options: ExaminationOptions,
): Promise<readonly ExerciseResult[]> {
  const signal = AbortSignal.any([
    AbortSignal.timeout(1000 * options.limits.notebookSeconds),
    ...options.signal ? [options.signal] : [],
  ]);
  const refused = parts.flatMap(({ exercise, refusal }) =>
    refusal === undefined
      ? []
      : [{ exercise, outcome: "cannot run", checks: [], error: refusal } as const]
  );
  const able = parts.filter(({ refusal }) => refusal === undefined);
  const results = [...refused, ...await sit(notebook, able, options, signal)];
  return results.toSorted((a, b) => a.exercise - b.exercise);
}
