/**
 * The hub's cache on disk, as its own tools lay it out:
 *
 * ```
 * models--owner--name/
 *   refs/main                   the commit that main was at
 *   blobs/<hash>                each content once
 *   snapshots/<commit>/<file>   links to the blobs
 * .locks/models--owner--name/<hash>.lock
 * ```
 */
import { dirname, join, relative } from "node:path";
import { exists, writeFileAtomic } from "@lib/files.ts";
import { HubError } from "./error.ts";
import { isCommit, type ModelId } from "./model_id.ts";

/** Paths of one model in the cache. */
export class ModelCache {
  readonly folder: string;
  readonly #locks: string;

  constructor(readonly cache: string, readonly name: string) {
    const folderName = ["models", ...name.split("/")].join("--");
    this.folder = join(cache, folderName);
    this.#locks = join(cache, ".locks", folderName);
  }

  get blobs(): string {
    return join(this.folder, "blobs");
  }
  get snapshots(): string {
    return join(this.folder, "snapshots");
  }
  blob(hash: string): string {
    return join(this.blobs, hash);
  }
  /** A partial blob. Not `<hash>.incomplete`: other tools take that for its first bytes. */
  partial(hash: string): string {
    return join(this.blobs, `${hash}.ranges.incomplete`);
  }
  /** The record of which ranges a partial blob has. */
  record(hash: string): string {
    return join(this.blobs, `${hash}.ranges.json`);
  }
  snapshot(commit: string): string {
    return join(this.snapshots, commit);
  }
  lock(hash: string): string {
    return join(this.#locks, `${hash}.lock`);
  }

  /** The commit a revision was last fetched at; null when it never was. */
  async commitOf(revision: string): Promise<string | null> {
    if (isCommit(revision)) return await exists(this.snapshot(revision)) ? revision : null;
    const path = join(this.folder, "refs", revision);
    if (!await exists(path) || !(await Deno.stat(path)).isFile) return null;
    const commit = (await Deno.readTextFile(path)).trim();
    return isCommit(commit) ? commit : null;
  }

  /** Notes the commit a branch or tag is at. */
  async saveRef({ revision }: ModelId, commit: string): Promise<void> {
    if (isCommit(revision) || await this.commitOf(revision) === commit) return;
    await writeFileAtomic(join(this.folder, "refs", revision), commit);
  }
}

/** How a snapshot refers to a blob; replaced in tests. */
export interface LinkCalls {
  symlink(target: string, path: string): Promise<void>;
  link(from: string, to: string): Promise<void>;
}

/**
 * Puts a blob into a snapshot: a relative symbolic link; where the system allows none (Windows without
 * developer mode), a hard link; where there is none either, a copy.
 */
export async function linkBlob(
  blob: string,
  path: string,
  calls: LinkCalls = Deno,
): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.part`;
  const ways = [
    () => calls.symlink(relative(dirname(path), blob), temporary),
    () => calls.link(blob, temporary),
    () => Deno.copyFile(blob, temporary),
  ];
  try {
    await firstThatWorks(ways);
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw diskError(error, path);
  }
}

async function firstThatWorks(ways: readonly (() => Promise<void>)[]): Promise<void> {
  let failure: unknown;
  for (const way of ways) {
    try {
      return await way();
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** An error of the file system in words that help; any other is returned as it is. */
export function diskError(error: unknown, path: string): unknown {
  if (error instanceof HubError || !(error instanceof Error)) return error;
  if (/ENOSPC|EDQUOT|no space left|quota|os error (28|112|122)\b/i.test(error.message)) {
    return new HubError(
      "disk",
      `${path}: the disk is full. What is here is kept: free some space and run this again, or set ` +
        "HF_HUB_CACHE to a folder on a larger disk.",
    );
  }
  if (error instanceof Deno.errors.NotADirectory || error instanceof Deno.errors.AlreadyExists) {
    return new HubError(
      "disk",
      `${path}: expected a folder, found a file in its place. Move the file away, or set ` +
        "HF_HUB_CACHE to another folder.",
    );
  }
  if (error instanceof Deno.errors.PermissionDenied || /os error 30\b|EROFS/.test(error.message)) {
    return new HubError(
      "disk",
      `${path} cannot be written: no permission. Set HF_HUB_CACHE to a folder you may write to.`,
    );
  }
  return error;
}
