/**
 * Limits on a process: memory watched from outside, processor time by the shell's `ulimit`.
 *
 * @module
 */

/** What one submission may use. */
export interface Limits {
  /** Seconds for one exercise, its checks included. */
  readonly exerciseSeconds: number;
  /** Seconds for the whole notebook, the pristine cells included. */
  readonly notebookSeconds: number;
  /** Megabytes of memory of the student's process. */
  readonly memoryMegabytes: number;
  /** Bytes that the student's code may print. */
  readonly printedBytes: number;
}

/** @default limits of `deno task grade` */
export const DEFAULT_LIMITS: Limits = {
  exerciseSeconds: 20,
  notebookSeconds: 300,
  memoryMegabytes: 2048,
  printedBytes: 2_000_000,
};

/** Milliseconds between two looks at a process's memory. */
const LOOK_MS = 100;
/** Bytes of a page, as Linux counts them in `/proc/PID/statm`. */
const PAGE = 4096;

/** Bytes of memory that a process holds; `undefined` where the system does not say. */
async function residentBytes(pid: number): Promise<number | undefined> {
  if (Deno.build.os === "linux") {
    const text = await Deno.readTextFile(`/proc/${pid}/statm`).catch(() => "");
    const pages = Number(text.split(" ")[1]);
    return text === "" ? undefined : pages * PAGE;
  }
  if (Deno.build.os === "windows") return undefined;
  const { success, stdout } = await new Deno.Command("ps", {
    args: ["-o", "rss=", "-p", String(pid)],
    stderr: "null",
  }).output();
  return success ? 1024 * Number(new TextDecoder().decode(stdout)) : undefined;
}

/** Watches a process's memory until disposed. */
export function watchMemory(pid: number, megabytes: number, onTooMuch: () => void): Disposable {
  let looking = false;
  const timer = setInterval(async () => {
    if (looking) return;
    looking = true;
    const bytes = await residentBytes(pid);
    looking = false;
    if (bytes !== undefined && bytes > megabytes * 1e6) onTooMuch();
  }, LOOK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/**
 * A command under the shell's limits, where there is a shell: no core files, and processor time
 * that ends the process even if the grader itself were stopped.
 */
export function limitedCommand(
  command: string,
  args: readonly string[],
  processorSeconds: number,
): { readonly command: string; readonly args: string[] } {
  if (Deno.build.os === "windows") return { command, args: [...args] };
  const limits = `ulimit -c 0; ulimit -t ${Math.ceil(processorSeconds)}; exec "$0" "$@"`;
  return { command: "/bin/sh", args: ["-c", limits, command, ...args] };
}
