/** One process at a time for each file: the same lock files as the hub's own tools use. */
import { dirname } from "node:path";
import { sleep } from "./retry.ts";

/** Milliseconds between two looks at a lock that another process holds. */
const POLL_MS = 250;

/**
 * Takes a lock, waiting while another process has it. Where the file system knows no locks it goes on
 * without one.
 *
 * @param onWait told once, when there is something to wait for
 * @throws the signal's reason when it is aborted before
 */
export async function takeLock(
  path: string,
  onWait?: () => void,
  signal?: AbortSignal,
): Promise<Disposable> {
  await Deno.mkdir(dirname(path), { recursive: true });
  const file = await Deno.open(path, { create: true, write: true, read: true });
  try {
    let told = false;
    while (!await tryLock(file)) {
      if (!told) onWait?.();
      told = true;
      await sleep(POLL_MS, signal);
    }
  } catch (error) {
    file.close();
    throw error;
  }
  return file; // closing it gives the lock back
}

async function tryLock(file: Deno.FsFile): Promise<boolean> {
  try {
    return await file.tryLock(true);
  } catch (error) {
    if (error instanceof Deno.errors.NotSupported) return true;
    throw error;
  }
}
