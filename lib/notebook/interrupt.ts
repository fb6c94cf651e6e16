/**
 * Work that the stop button (SIGINT) or a cancel file ends without ending the kernel.
 *
 * Deno's kernel dies of SIGINT unless somebody listens, and there is no SIGINT for a Windows kernel;
 * so this module listens, and watches a file as the second way.
 *
 * @module
 */
import { inKernel } from "./host.ts";

/** Thrown by interrupted work. The kernel and every variable live on. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError";

  constructor(by = "the stop button") {
    super(`Interrupted by ${by}. The kernel and its variables live on; run the cell again.`);
  }
}

/** Milliseconds that interrupted work has to end in its own way before we stop waiting for it. */
const GRACE_MS = 800;
/** Milliseconds between two looks at the cancel file. */
const POLL_MS = 250;
/** Exit code of a process ended by Ctrl-C, by the shells' convention. */
const INTERRUPTED_EXIT = 130;

const running = new Set<AbortController>();
let cancelPath: string | undefined;
let listening = false;

/** Interrupts all running work; returns how many pieces there were. */
export function interruptAll(by?: string): number {
  const controllers = [...running];
  for (const controller of controllers) controller.abort(new InterruptedError(by));
  return controllers.length;
}

function onSignal(): void {
  const fresh = [...running].some((controller) => !controller.signal.aborted);
  if (fresh) return void interruptAll();
  if (!inKernel()) Deno.exit(INTERRUPTED_EXIT);
  console.error(
    "Interrupt received, but nothing here can be interrupted: wait for the cell, or restart.",
  );
}

/** Starts listening for SIGINT; in a kernel for good, elsewhere while work runs. */
export function listenForInterrupts(): void {
  if (listening) return;
  Deno.addSignalListener("SIGINT", onSignal);
  listening = true;
}

function stopListening(): void {
  if (!listening || inKernel() || running.size > 0) return;
  Deno.removeSignalListener("SIGINT", onSignal);
  listening = false;
}

/** Names the file whose appearance interrupts running work; `undefined` for none. */
export function setCancelFile(path: string | undefined): void {
  cancelPath = path;
}

/** Removes the cancel file; tells whether it was there. */
async function takeCancelFile(path: string): Promise<boolean> {
  try {
    await Deno.remove(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function watchCancelFile(controller: AbortController): Disposable {
  const path = cancelPath;
  if (path === undefined) return { [Symbol.dispose]() {} };
  const look = async () => {
    try {
      if (await takeCancelFile(path)) interruptAll(`the file ${path}`);
    } catch (error) {
      controller.abort(error);
    }
  };
  const timer = setInterval(look, POLL_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Rejects with the signal's reason, once the work has ended or the grace is over. */
async function rejectWhenAborted(signal: AbortSignal, settled: Promise<unknown>): Promise<never> {
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const grace = new Promise((resolve) => timer = setTimeout(resolve, GRACE_MS));
  await Promise.race([settled, grace]);
  clearTimeout(timer);
  throw signal.reason;
}

/**
 * Runs work that the stop button, Ctrl-C or the cancel file interrupts: `signal` aborts, the work
 * has {@linkcode GRACE_MS} to end (native work cancels by its flag), then the promise rejects.
 *
 * @throws {InterruptedError} where it was interrupted
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { interruptible } from "@lib/notebook/interrupt.ts";
 *
 * const sum = await interruptible(async (signal) => {
 *   let sum = 0;
 *   for (const value of [1, 2, 3]) {
 *     signal.throwIfAborted();
 *     sum += await Promise.resolve(value);
 *   }
 *   return sum;
 * });
 * assertEquals(sum, 6);
 * ```
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  if (cancelPath !== undefined) await takeCancelFile(cancelPath); // a stale one stops nothing
  running.add(controller);
  listenForInterrupts();
  using _watch = watchCancelFile(controller);
  try {
    const result = (async () => await work(controller.signal))();
    const settled = result.then(() => {}, () => {});
    const value = await Promise.race([result, rejectWhenAborted(controller.signal, settled)]);
    controller.signal.throwIfAborted(); // work that noticed and returned was interrupted all the same
    return value;
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    running.delete(controller);
    stopListening();
  }
}
