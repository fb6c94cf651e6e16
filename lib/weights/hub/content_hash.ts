/** Checking a fetched file against the hash the hub promised. */
import { createHash } from "node:crypto";
import type { RemoteFile } from "./remote_file.ts";

const BLOCK_BYTES = 1024 * 1024;

/** Options of {@linkcode contentHash}. */
export interface HashOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of each block's bytes. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * The hash of a file's content: SHA-256, or git's blob hash (SHA-1 over `blob <bytes>\0` and content).
 *
 * @returns lower-case hexadecimal
 */
export async function contentHash(
  path: string,
  kind: RemoteFile["hash"]["kind"],
  { signal, onBytes }: HashOptions = {},
): Promise<string> {
  using file = await Deno.open(path, { read: true });
  const hash = createHash(kind === "git" ? "sha1" : "sha256");
  if (kind === "git") hash.update(`blob ${(await file.stat()).size}\0`);
  const block = new Uint8Array(BLOCK_BYTES);
  for (let read = await file.read(block); read !== null; read = await file.read(block)) {
    signal?.throwIfAborted();
    hash.update(block.subarray(0, read));
    onBytes?.(read);
  }
  return hash.digest("hex");
}
