/**
 * Keeps a cell's output in the cell: Deno's kernel may publish `idle` before its output has left
 * (always a risk from 2.8.2 on, now and then on a busy machine before it).
 *
 * Text written to the console is collected and sent as one message a microtask; the end of a cell
 * waits until all has been sent. It relies on two internals of Deno, so it is guarded: where either
 * is missing nothing is changed.
 *
 * @module
 */
import { type KernelApi, kernelApi } from "./host.ts";

type ConsoleConstructor = new (print: (text: string, level: number) => void) => Console;
type BroadcastResult = (executionCount: number, result: unknown) => Promise<void>;

interface KernelInternals {
  readonly Console: ConsoleConstructor;
  readonly jupyter: { broadcastResult: BroadcastResult };
}

/** Console levels above this one are warnings and errors: they go to stderr. */
const HIGHEST_STDOUT_LEVEL = 1;
/** Milliseconds for the kernel's own queue to drain after the last message is handed over. */
const DRAIN_MS = 15;

function property(target: unknown, key: PropertyKey): unknown {
  return typeof target === "object" && target !== null ? Reflect.get(target, key) : undefined;
}

function isInternals(value: unknown): value is KernelInternals {
  return typeof property(value, "Console") === "function" &&
    typeof property(property(value, "jupyter"), "broadcastResult") === "function";
}

function kernelInternals(): KernelInternals | undefined {
  const key = property(Deno, "internal");
  const internals = typeof key === "symbol" ? property(Deno, key) : undefined;
  return isInternals(internals) ? internals : undefined;
}

/** Streams of text in the order they were written. */
class StreamQueue {
  #pending: { name: "stdout" | "stderr"; text: string }[] = [];
  #sent: Promise<void> = Promise.resolve();
  #scheduled = false;

  constructor(readonly broadcast: KernelApi["broadcast"]) {}

  write(name: "stdout" | "stderr", text: string): void {
    const last = this.#pending.at(-1);
    if (last?.name === name) last.text += text;
    else this.#pending.push({ name, text });
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => void this.flush());
  }

  /** Sends what is pending; resolves once it and all before it has been handed over. */
  flush(): Promise<void> {
    this.#scheduled = false;
    const batch = this.#pending;
    this.#pending = [];
    if (batch.length > 0) {
      const sends = batch.map((piece) => this.broadcast("stream", piece));
      const before = this.#sent;
      this.#sent = Promise.allSettled([before, ...sends]).then(() => {});
    }
    return this.#sent;
  }
}

let active: StreamQueue | undefined;

/** Hands over what the console has collected; resolves once it has left. */
export function flushOutput(): Promise<void> {
  return active?.flush() ?? Promise.resolve();
}

/**
 * Installs the hook once.
 *
 * @returns whether the hook is in place: `false` outside a kernel or where Deno has changed inside
 */
export function installOutputHook(): boolean {
  if (active) return true;
  const api = kernelApi();
  const internals = kernelInternals();
  if (!api || !internals) return false;
  const queue = new StreamQueue(api.broadcast);
  const hooked = new internals.Console((text, level) =>
    queue.write(level > HIGHEST_STDOUT_LEVEL ? "stderr" : "stdout", text)
  );
  for (const key of Reflect.ownKeys(hooked)) {
    const method = Reflect.get(hooked, key);
    if (typeof key === "string" && typeof method === "function") Reflect.set(console, key, method);
  }
  const original = internals.jupyter.broadcastResult;
  internals.jupyter.broadcastResult = async (executionCount, result) => {
    await queue.flush();
    await original(executionCount, result);
    await new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
  };
  active = queue;
  return true;
}
