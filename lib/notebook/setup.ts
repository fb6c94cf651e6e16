/**
 * The first call of every notebook: makes the kernel safe to learn on.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { PINNED_DENO_VERSION } from "./deno_version.ts";
import { inKernel, type MediaBundle } from "./host.ts";
import { listenForInterrupts, setCancelFile } from "./interrupt.ts";
import { OWNER_PID_VARIABLE } from "./kernel/process.ts";
import { installOutputHook } from "./output_hook.ts";

/** Options of {@linkcode setupNotebook}. */
export interface SetupOptions {
  /**
   * File whose appearance interrupts running work, relative to the project's root; `false` for none.
   * @default {"outputs/STOP"}
   */
  readonly cancelFile?: string | false;
  /** Whether to install the output hook; only the conformance test leaves it out. @default {true} */
  readonly outputHook?: boolean;
}

/** What the set-up found. As a cell's last value it shows itself in one line. */
export class NotebookSetup {
  constructor(
    /** Whether the code runs in a kernel; a plain process otherwise. */
    readonly kernel: boolean,
    /** Folder of `deno.json`, to which the project's paths are relative. */
    readonly root: string,
    /** File that interrupts running work when it appears, if one is set. */
    readonly cancelFile: string | undefined,
    /** Whether the output hook is in place. */
    readonly outputHook: boolean,
  ) {}

  [Symbol.for("Jupyter.display")](): MediaBundle {
    return {
      "text/plain": `Deno ${Deno.version.deno} on ${Deno.build.os}: the kernel is ready.`,
    };
  }
}

/** Milliseconds between two looks at whether the front end still lives. */
const OWNER_POLL_MS = 1000;

/** The error with its causes, as a student should read it. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return Deno.inspect(error);
  const cause = error.cause === undefined ? "" : `\nCaused by: ${describeError(error.cause)}`;
  return (error.stack ?? `${error.name}: ${error.message}`) + cause;
}

/** Errors outside the awaited flow are shown, and the kernel goes on: by default it hangs. */
function listenForErrors(): void {
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    console.error(
      `Error outside a cell's own flow (a timer or an event): ${
        describeError(event.error ?? event.message)
      }`,
    );
  });
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    console.error(`Unhandled rejection (a missing await?): ${describeError(event.reason)}`);
  });
}

/** Ends the kernel when the runner that owns it is gone; front ends other than ours do not say. */
function followOwner(): void {
  const owner = Number(Deno.env.get(OWNER_PID_VARIABLE));
  if (!Number.isInteger(owner) || owner !== Deno.ppid) return;
  const timer = setInterval(() => {
    if (Deno.ppid !== owner) Deno.exit(1);
  }, OWNER_POLL_MS);
  Deno.unrefTimer(timer);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/**
 * The project's root: the nearest folder upwards of `from` that holds `deno.json`.
 *
 * @throws {Error} where there is none
 */
export async function findRoot(from: string = Deno.cwd()): Promise<string> {
  for (let folder = from;; folder = dirname(folder)) {
    if (await exists(join(folder, "deno.json"))) return folder;
    if (folder === dirname(folder)) {
      throw new Error(
        `Cannot find the project: expected deno.json in ${from} or above it, found none. ` +
          `Open the notebook from inside the project's folder.`,
      );
    }
  }
}

let prepared = false;

/**
 * Prepares the kernel; call it once in the Setup cell (a second call changes only the cancel file).
 * In a plain process it installs nothing but the cancel file.
 *
 * @throws {Error} where no `deno.json` lies in or above the working folder
 */
export async function setupNotebook(options: SetupOptions = {}): Promise<NotebookSetup> {
  const { cancelFile = join("outputs", "STOP"), outputHook = true } = options;
  const root = await findRoot();
  const cancelPath = cancelFile === false ? undefined : join(root, cancelFile);
  setCancelFile(cancelPath);
  const kernel = inKernel();
  const hooked = kernel && outputHook && installOutputHook();
  if (kernel && !prepared) {
    prepared = true;
    listenForErrors();
    listenForInterrupts();
    followOwner();
    if (outputHook) warnOfVersion(hooked);
  }
  return new NotebookSetup(kernel, root, cancelPath, hooked);
}

function warnOfVersion(hooked: boolean): void {
  const found = Deno.version.deno;
  if (hooked && found === PINNED_DENO_VERSION) return;
  console.warn(
    `The course is tested with Deno ${PINNED_DENO_VERSION}; this is ${found}, ` +
      (hooked
        ? "where a cell with a syntax error may show nothing. "
        : "which can lose output of cells. ") +
      `For the tested one: npx -y deno@${PINNED_DENO_VERSION} task lab`,
  );
}
