/**
 * The kernel's process: started on a connection file, its last words kept, always reaped.
 *
 * @module
 */

/** Environment variable naming the process that a kernel must not outlive. */
export const OWNER_PID_VARIABLE = "NOTEBOOK_OWNER_PID";

/** How to start a kernel. */
export interface KernelProcessOptions {
  /** Deno executable. @default {Deno.execPath()} */
  readonly deno?: string;
  /** Working folder, from which the kernel looks for `deno.json` upwards. */
  readonly cwd: string;
  /** Variables added to this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

const TAIL_BYTES = 8192;

/** Drains a stream so that the child never blocks; keeps the end of what it said. */
async function keepTail(
  stream: ReadableStream<Uint8Array>,
  onTail: (tail: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let tail = "";
  for await (const chunk of stream) {
    tail = (tail + decoder.decode(chunk, { stream: true })).slice(-TAIL_BYTES);
    onTail(tail);
  }
}

/** A running `deno jupyter --kernel`. */
export class KernelProcess {
  readonly #child: Deno.ChildProcess;
  readonly #drained: Promise<void>;
  #tail = "";
  #exited = false;
  /** Resolves when the process has ended and its output is read. */
  readonly exit: Promise<Deno.CommandStatus>;

  constructor(connectionPath: string, options: KernelProcessOptions) {
    this.#child = new Deno.Command(options.deno ?? Deno.execPath(), {
      args: ["jupyter", "--kernel", "--conn", connectionPath],
      cwd: options.cwd,
      env: { ...options.env, [OWNER_PID_VARIABLE]: String(Deno.pid) },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const keep = (tail: string) => void (this.#tail = tail);
    this.#drained = Promise.all([
      keepTail(this.#child.stderr, keep),
      keepTail(this.#child.stdout, () => {}),
    ]).then(() => {});
    this.exit = this.#child.status.then(async (status) => {
      this.#exited = true;
      await this.#drained;
      return status;
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  get exited(): boolean {
    return this.#exited;
  }

  /** The last lines the process wrote to its stderr. */
  get lastWords(): string {
    return this.#tail.trim();
  }

  /** Sends a signal; a process that is gone already is fine. */
  signal(signal: Deno.Signal): void {
    if (this.#exited) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // Between the child's end and our hearing of it, kill finds no process.
      const gone = error instanceof TypeError || error instanceof Deno.errors.NotFound;
      if (!gone) throw error;
    }
  }
}
