/** Whether the disk has room, before a download begins. */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { formatBytes } from "@lib/engine/memory.ts";
import { exists } from "@lib/files.ts";
import { HubError } from "./error.ts";

/** Left free: a disk filled to the last byte stops more than a download. */
const RESERVE_BYTES = 256 * 1024 * 1024;

/** Bytes free to this user where a folder is or would be made; null where the system does not say. */
export async function freeBytes(folder: string): Promise<number | null> {
  let at = folder;
  while (!await exists(at) && dirname(at) !== at) at = dirname(at);
  try {
    const { bavail, bsize } = await statfs(at);
    return bavail * bsize;
  } catch {
    return null;
  }
}

/**
 * Checks that a download fits.
 *
 * @param needed bytes still to be written
 * @throws {HubError} with what is needed, what is free and where
 */
export async function requireSpace(
  folder: string,
  needed: number,
  free: (folder: string) => Promise<number | null> = freeBytes,
): Promise<void> {
  const available = await free(folder);
  if (needed === 0 || available === null || available >= needed + RESERVE_BYTES) return;
  throw new HubError(
    "disk",
    `${folder}: expected room for ${formatBytes(needed)} and ${
      formatBytes(RESERVE_BYTES)
    } to spare, ` +
      `found ${formatBytes(available)} free. Free ` +
      `${formatBytes(needed + RESERVE_BYTES - available)}, or set HF_HUB_CACHE to a folder on a ` +
      "larger disk.",
  );
}
