/** One file that is not here yet: its lock and partial file at the beginning, its check at the end. */
import { join } from "node:path";
import { exists } from "@lib/files.ts";
import type { HubClient } from "./client.ts";
import { contentHash, type HashOptions } from "./content_hash.ts";
import { HubError } from "./error.ts";
import { takeLock } from "./file_lock.ts";
import { linkBlob, type ModelCache } from "./layout.ts";
import { PartialFile } from "./partial_file.ts";
import type { RemoteFile } from "./remote_file.ts";
import type { Transfer } from "./transfer.ts";

/** A file that is being fetched. */
export interface Job extends Transfer {
  readonly lock: Disposable;
  /** Its name, and those of files with the same content. */
  readonly paths: string[];
  /** Pieces not yet fetched. */
  pending: number;
  /** Whether the server sends this file only as a whole. */
  whole: boolean;
  /** Stops this file's ranges when it must be fetched as a whole. */
  stop: AbortController;
  /** Whether it was fetched once already and had another hash. */
  again: boolean;
}

/** Options of {@linkcode openJob}. */
export interface OpenJobOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onMessage?: ((line: string) => void) | undefined;
}

/**
 * Begins or goes on with a file.
 *
 * @returns null where the content is here already; it is then in the snapshot
 */
export async function openJob(
  client: HubClient,
  cache: ModelCache,
  commit: string,
  file: RemoteFile,
  { signal, onMessage }: OpenJobOptions,
): Promise<Job | null> {
  if (await linkIfHere(cache, commit, file)) return null;
  const { hex } = file.hash;
  const onWait = () => onMessage?.(`${file.path}: waiting for another process that fetches it`);
  const lock = await takeLock(cache.lock(hex), onWait, signal);
  try {
    if (await linkIfHere(cache, commit, file)) {
      lock[Symbol.dispose]();
      return null;
    }
    const partial = await PartialFile.open(cache.partial(hex), cache.record(hex), file.bytes);
    const state = { storage: null, pending: 0, whole: false, again: false };
    const stop = new AbortController();
    return { client, commit, file, partial, lock, paths: [file.path], stop, ...state };
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

async function linkIfHere(cache: ModelCache, commit: string, file: RemoteFile): Promise<boolean> {
  const target = join(cache.snapshot(commit), file.path);
  if (await hasSize(target, file.bytes)) return true;
  const blob = cache.blob(file.hash.hex);
  if (!await hasSize(blob, file.bytes)) return false;
  await linkBlob(blob, target);
  return true;
}

async function hasSize(path: string, bytes: number): Promise<boolean> {
  return await exists(path) && (await Deno.stat(path)).size === bytes;
}

/**
 * Checks a file whose pieces are all here, and puts it into the snapshot.
 *
 * @returns false where its hash was wrong for the first time: it is empty again
 * @throws {HubError} where it is wrong again; it is then removed
 */
export async function completeJob(
  job: Job,
  cache: ModelCache,
  options: HashOptions,
): Promise<boolean> {
  const { file, partial, commit, paths } = job;
  const found = await contentHash(partial.path, file.hash.kind, options);
  if (found === file.hash.hex) {
    await partial.publish(cache.blob(found));
    for (const path of paths) await linkBlob(cache.blob(found), join(cache.snapshot(commit), path));
    job.again = false;
    job.lock[Symbol.dispose]();
    return true;
  }
  if (!job.again) {
    job.again = true;
    await partial.reset();
    return false;
  }
  await partial.discard();
  throw hashError(file, found, cache);
}

function hashError(file: RemoteFile, found: string, cache: ModelCache): HubError {
  const kind = file.hash.kind === "git" ? "git" : "SHA-256";
  return new HubError(
    "hash",
    `${file.path} of ${cache.name}: expected the ${kind} hash ${file.hash.hex}, found ${found}, ` +
      "twice. The wrong file was removed. Something on the way alters it: unset HF_ENDPOINT if a " +
      "mirror is set, or use another network, then run this again.",
  );
}
