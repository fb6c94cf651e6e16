/**
 * Checkpoints: adapter, optimiser state and place in the data, from which a run goes on bit for bit.
 */
import { z } from "zod";
import type { LoraOptions, Model } from "@lib/engine/model.ts";
import type { Trainer } from "@lib/engine/trainer.ts";
import { exists, FileWriteError, loadJson, saveJson, writeFileAtomic } from "@lib/files.ts";
import { loadAdapter, saveAdapter } from "@lib/weights/adapter.ts";

/** What a checkpoint says of itself. */
export const CheckpointState = z.strictObject({
  format: z.literal(1),
  step: z.number().int().min(0),
  total_steps: z.number().int().positive(),
  /** SHA-256 of everything that decides the course of the run: config, data, base model. */
  fingerprint: z.string(),
});
export type CheckpointState = z.infer<typeof CheckpointState>;

/** A checkpoint on disk. */
export interface Checkpoint {
  readonly folder: string;
  readonly state: CheckpointState;
}

/** How many checkpoints stay on disk. */
const KEPT = 2;

/** Saves a checkpoint whole: written beside its place and renamed into it. */
export async function saveCheckpoint(
  parent: string,
  model: Model,
  trainer: Trainer,
  lora: LoraOptions,
  baseModel: string,
  state: CheckpointState,
): Promise<string> {
  const folder = `${parent}/step_${String(state.step).padStart(7, "0")}`;
  const temporary = `${folder}.part`;
  try {
    await Deno.remove(temporary, { recursive: true }).catch(() => {});
    await Deno.mkdir(temporary, { recursive: true });
    await saveAdapter(temporary, model, lora, baseModel);
    await writeFileAtomic(`${temporary}/optimizer.bin`, await trainer.exportState());
    await saveJson(`${temporary}/state.json`, state);
    await Deno.remove(folder, { recursive: true }).catch(() => {});
    await Deno.rename(temporary, folder);
  } catch (error) {
    await Deno.remove(temporary, { recursive: true }).catch(() => {});
    throw error instanceof FileWriteError ? error : new FileWriteError(folder, error);
  }
  await removeOlder(parent);
  return folder;
}

/** Folder names of whole checkpoints, oldest first. */
async function checkpointNames(parent: string): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(parent)) {
    if (entry.isDirectory && /^step_\d{7}$/.test(entry.name)) names.push(entry.name);
  }
  return names.sort();
}

/** Keeps the newest; one that will not go is left: it costs disk, not correctness. */
async function removeOlder(parent: string): Promise<void> {
  for (const name of (await checkpointNames(parent)).slice(0, -KEPT)) {
    await Deno.remove(`${parent}/${name}`, { recursive: true }).catch(() => {});
  }
}

/**
 * The newest whole checkpoint, or null. Unfinished ones are passed over.
 */
export async function findCheckpoint(parent: string): Promise<Checkpoint | null> {
  if (!await exists(parent)) return null;
  for (const name of (await checkpointNames(parent)).reverse()) {
    const folder = `${parent}/${name}`;
    if (!await exists(`${folder}/state.json`)) continue;
    const value = await loadJson(`${folder}/state.json`, "Delete this checkpoint's folder.");
    const state = CheckpointState.safeParse(value);
    if (state.success) return { folder, state: state.data };
  }
  return null;
}

/** Puts a checkpoint's adapter into the model. */
export async function restoreAdapter(
  checkpoint: Checkpoint,
  model: Model,
  dropout: number,
): Promise<LoraOptions> {
  return await loadAdapter(checkpoint.folder, model, dropout);
}

/** Puts a checkpoint's optimiser state into the trainer. */
export async function restoreOptimizer(checkpoint: Checkpoint, trainer: Trainer): Promise<void> {
  await trainer.importState(await Deno.readFile(`${checkpoint.folder}/optimizer.bin`));
}

/**
 * Moves checkpoints of another run aside, so that a restart loses nothing.
 *
 * @returns the new folder, or null when there was none
 */
export async function setCheckpointsAside(parent: string, now: Date): Promise<string | null> {
  if (!await exists(parent)) return null;
  const stamp = now.toISOString().replace(/[-:.]/g, "").slice(0, 15);
  let aside = `${parent}_before_${stamp}`;
  for (let n = 2; await exists(aside); n++) aside = `${parent}_before_${stamp}_${n}`;
  await Deno.rename(parent, aside);
  return aside;
}
