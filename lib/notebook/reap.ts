/**
 * Ends a kernel with the process that started it, whatever ends that process.
 *
 * @module
 */
import type { KernelClient } from "./kernel/client.ts";

/** Signals that end this process unless it listens. Windows knows SIGINT and SIGBREAK only. */
const ENDING_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/** Exit code of a process ended by Ctrl-C, by the shells' convention. */
const INTERRUPTED = 130;

/** A watch over a kernel; dispose it once the kernel is shut down. */
export interface Reaper extends Disposable {
  /** Aborts at the first signal that would have ended this process. */
  readonly signal: AbortSignal;
}

/**
 * Kills `kernel` when this process exits. The first ending signal only aborts `signal`, so that the
 * caller can save what it has; the second kills the kernel and exits.
 */
export function reapOnExit(kernel: KernelClient): Reaper {
  const controller = new AbortController();
  const onUnload = () => kernel.kill();
  const listeners = ENDING_SIGNALS.map((name) => {
    const listener = () => {
      if (!controller.signal.aborted) return controller.abort(name);
      kernel.kill();
      Deno.exit(INTERRUPTED);
    };
    return [name, listener] as const;
  });
  globalThis.addEventListener("unload", onUnload);
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      globalThis.removeEventListener("unload", onUnload);
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
    },
  };
}
