/** Models that are on this machine already, found without the network. */
import { join } from "node:path";
import { exists } from "@lib/files.ts";
import { HubError } from "./error.ts";
import { ModelCache } from "./layout.ts";
import { DEFAULT_REVISION, isCommit, type ModelId } from "./model_id.ts";
import { recordedBytes } from "./partial_file.ts";
import {
  ONNX_WEIGHTS,
  REQUIRED_FILES,
  shardNames,
  SINGLE_WEIGHTS,
  WEIGHTS_INDEX,
} from "./selection.ts";

/** One snapshot of a model in the cache. */
export interface CachedModel {
  readonly name: string;
  readonly commit: string;
  /** Branches and tags that were at this commit when they were last fetched. */
  readonly refs: readonly string[];
  /** The model folder: `config.json`, tokenizer, `*.safetensors`. */
  readonly folder: string;
  /** Bytes of the snapshot's files. */
  readonly bytes: number;
  /** Bytes of files that are still being fetched, of the model as a whole. */
  readonly partialBytes: number;
  /** Files the course needs that are not here; empty: complete. */
  readonly missing: readonly string[];
}

/**
 * Finds a model in the cache.
 *
 * @returns null where nothing of it is here; else its snapshot, whether complete or not
 */
export async function findCached(id: ModelId, cache: string): Promise<CachedModel | null> {
  const place = new ModelCache(cache, id.name);
  const commit = await place.commitOf(id.revision);
  if (commit !== null && await exists(place.snapshot(commit))) return await inspect(place, commit);
  if (isCommit(id.revision)) return null;
  // The branch was never fetched by name; a complete snapshot serves when it is the only one.
  const all = await snapshotsOf(place);
  const complete = all.filter(({ missing }) => missing.length === 0);
  const usual = id.revision === DEFAULT_REVISION;
  if (usual && complete.length === 1) return complete[0] ?? null;
  return usual && complete.length === 0 ? all[0] ?? null : null;
}

/** Every model in the cache, by name. */
export async function listCached(cache: string): Promise<CachedModel[]> {
  const names = (await foldersIn(cache)).filter((folder) => folder.startsWith("models--"));
  const models: CachedModel[] = [];
  for (const folder of names) {
    const name = folder.slice("models--".length).replace("--", "/");
    models.push(...await snapshotsOf(new ModelCache(cache, name)));
  }
  return models;
}

async function snapshotsOf(place: ModelCache): Promise<CachedModel[]> {
  const commits = (await foldersIn(place.snapshots)).filter(isCommit);
  return await Promise.all(commits.map((commit) => inspect(place, commit)));
}

async function inspect(place: ModelCache, commit: string): Promise<CachedModel> {
  const folder = place.snapshot(commit);
  return {
    name: place.name,
    commit,
    refs: await refsAt(place, commit),
    folder,
    bytes: await bytesIn(folder),
    partialBytes: await partialBytes(place),
    missing: await missingFiles(folder, place.name),
  };
}

/**
 * The files of a model folder that the course needs and that are not there.
 *
 * @returns names; where neither weights nor index are there, `model.safetensors`
 */
export async function missingFiles(folder: string, name: string): Promise<string[]> {
  const lacks = async (path: string) => !await exists(join(folder, path));
  const missing: string[] = [];
  for (const path of REQUIRED_FILES) if (await lacks(path)) missing.push(path);
  if (!await lacks(SINGLE_WEIGHTS) || !await lacks(ONNX_WEIGHTS)) return missing;
  if (await lacks(WEIGHTS_INDEX)) return [...missing, SINGLE_WEIGHTS];
  for (const shard of await shardsOf(folder, name)) {
    if (await lacks(shard)) missing.push(shard);
  }
  return missing;
}

/** An index that cannot be read counts as missing. */
async function shardsOf(folder: string, name: string): Promise<string[]> {
  try {
    return shardNames(await Deno.readTextFile(join(folder, WEIGHTS_INDEX)), name);
  } catch (error) {
    if (error instanceof HubError) return [`a readable ${WEIGHTS_INDEX}`];
    throw error;
  }
}

async function refsAt(place: ModelCache, commit: string): Promise<string[]> {
  const root = join(place.folder, "refs");
  const refs: string[] = [];
  const walk = async (prefix: string) => {
    for (const entry of await entriesIn(join(root, prefix))) {
      const ref = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
      if (entry.isDirectory) await walk(ref);
      else if (await place.commitOf(ref) === commit) refs.push(ref);
    }
  };
  await walk("");
  return refs.sort();
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const { name, isDirectory } of await entriesIn(folder)) {
    const path = join(folder, name);
    if (isDirectory) bytes += await bytesIn(path);
    else if (await exists(path)) bytes += (await Deno.stat(path)).size;
  }
  return bytes;
}

async function partialBytes(place: ModelCache): Promise<number> {
  const blobs = await entriesIn(place.blobs);
  const records = blobs.filter(({ name }) => name.endsWith(".ranges.json"));
  const bytes = await Promise.all(records.map(({ name }) => recordedBytes(place.blob(name))));
  return bytes.reduce((sum, count) => sum + count, 0);
}

async function foldersIn(path: string): Promise<string[]> {
  return (await entriesIn(path)).filter((e) => e.isDirectory).map(({ name }) => name).sort();
}

/** Entries of a folder; none where there is no such folder. */
async function entriesIn(path: string): Promise<Deno.DirEntry[]> {
  if (!await exists(path)) return [];
  return await Array.fromAsync(Deno.readDir(path));
}
