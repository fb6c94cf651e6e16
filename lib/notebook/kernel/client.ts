/**
 * A front end for one Deno Jupyter kernel: starts it, runs cells, interrupts, restarts, reaps it.
 *
 * @module
 */
import { join } from "node:path";
import { type KernelConnection, makeConnection, saveConnection } from "./connection.ts";
import { decodeMessage, encodeMessage, type JsonObject, type JupyterMessage } from "./message.ts";
import { KernelProcess, type KernelProcessOptions } from "./process.ts";
import { ZmtpSocket, type ZmtpSocketType } from "./zmtp.ts";

/** Where and how a kernel is started. */
export interface KernelClientOptions extends KernelProcessOptions {
  /** Milliseconds for the kernel to answer its first request. @default {30000} */
  readonly startTimeoutMs?: number;
}

/** One message that a running cell published. */
export interface CellMessage {
  readonly type: string;
  readonly content: JsonObject;
  readonly metadata: JsonObject;
  /** True where it came after the kernel had said `idle`: a front end may have lost it. */
  readonly late: boolean;
}

/** The kernel's answer to one cell. */
export interface CellReply {
  readonly status: "ok" | "error" | "aborted";
  readonly executionCount: number | null;
  readonly content: JsonObject;
}

/** How one cell is run. */
export interface ExecuteOptions {
  /** Called with what the cell publishes, also with stragglers that come after its answer. */
  readonly onMessage?: (message: CellMessage) => void;
  /** Milliseconds of silence to wait for stragglers after the answer. @default {100} */
  readonly quietMs?: number;
  /** Aborts the wait (not the kernel): the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

interface Pending {
  readonly onMessage: (message: CellMessage) => void;
  readonly settle: () => void;
  reply: JupyterMessage | undefined;
  idle: boolean;
  lastMessageAt: number;
}

interface Sockets {
  readonly shell: ZmtpSocket;
  readonly iopub: ZmtpSocket;
  readonly control: ZmtpSocket;
}

const delay = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

function toReply(message: JupyterMessage): CellReply {
  const { status, execution_count: count } = message.content;
  return {
    status: status === "ok" || status === "aborted" ? status : "error",
    executionCount: typeof count === "number" ? count : null,
    content: message.content,
  };
}

/** A started kernel. Close it with `await using` or `shutdown()`. */
export class KernelClient {
  readonly #options: KernelClientOptions;
  readonly #folder: string;
  readonly #connection: KernelConnection;
  readonly #session = crypto.randomUUID();
  readonly #pending = new Map<string, Pending>();
  #process: KernelProcess | undefined;
  #sockets: Sockets | undefined;
  #failure: Error | undefined;

  private constructor(options: KernelClientOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
    this.#connection = makeConnection();
  }

  /**
   * Starts a kernel and waits until it answers on every channel.
   *
   * @throws {Error} where the kernel ends at once or does not answer in time.
   */
  static async start(options: KernelClientOptions): Promise<KernelClient> {
    const folder = await Deno.makeTempDir({ prefix: "deno-kernel-" });
    const client = new KernelClient(options, folder);
    try {
      await saveConnection(join(folder, "connection.json"), client.#connection);
      await client.#launch();
      return client;
    } catch (error) {
      await client.shutdown();
      throw error;
    }
  }

  /** The kernel's process id. */
  get pid(): number {
    return this.#live().pid;
  }

  /** Whether the kernel's process still runs. */
  get alive(): boolean {
    return this.#process !== undefined && !this.#process.exited;
  }

  async #launch(): Promise<void> {
    const child = new KernelProcess(join(this.#folder, "connection.json"), this.#options);
    this.#process = child;
    this.#failure = undefined;
    child.exit.then((status) => this.#onExit(child, status));
    const deadline = performance.now() + (this.#options.startTimeoutMs ?? 30_000);
    this.#sockets = await this.#connectAll(child, deadline);
    void this.#read(this.#sockets.shell, (message) => this.#onReply(message));
    void this.#read(this.#sockets.control, (message) => this.#onReply(message));
    void this.#read(this.#sockets.iopub, (message) => this.#onPublished(message));
    await this.#awaitFirstAnswer(deadline);
  }

  async #connectAll(child: KernelProcess, deadline: number): Promise<Sockets> {
    const connect = async (port: number, type: ZmtpSocketType): Promise<ZmtpSocket> => {
      while (true) {
        try {
          const identity = type === "DEALER" ? this.#session : "";
          return await ZmtpSocket.connect({ port, type, identity });
        } catch (error) {
          if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
          if (child.exited) throw this.#ended("ended before it listened");
          if (performance.now() > deadline) throw this.#ended("did not listen in time");
          await delay(20);
        }
      }
    };
    const { shell_port, iopub_port, control_port } = this.#connection;
    const shell = await connect(shell_port, "DEALER");
    const iopub = await connect(iopub_port, "SUB");
    const control = await connect(control_port, "DEALER");
    return { shell, iopub, control };
  }

  /** A kernel is ready when a request's `idle` arrives: then the subscription has been seen too. */
  async #awaitFirstAnswer(deadline: number): Promise<void> {
    while (performance.now() < deadline) {
      const answered = this.#request("shell", "kernel_info_request", {}, {}).then(() => true);
      answered.catch(() => {});
      if (await Promise.race([answered, delay(500).then(() => false)])) return;
      if (this.#failure) throw this.#failure;
    }
    throw this.#ended("did not answer in time");
  }

  #ended(what: string): Error {
    const words = this.#process?.lastWords;
    const said = words ? ` Its last words:\n${words}` : " It said nothing.";
    return new Error(
      `The Deno kernel ${what} (expected it to run until it is shut down).${said}\n` +
        `Run \`deno jupyter --version\` to see that Deno starts, then run again.`,
    );
  }

  #onExit(child: KernelProcess, status: Deno.CommandStatus): void {
    if (child !== this.#process) return;
    this.#failure = this.#ended(`ended with ${status.signal ?? `exit code ${status.code}`}`);
    for (const pending of this.#pending.values()) pending.settle();
  }

  async #read(socket: ZmtpSocket, onMessage: (message: JupyterMessage) => void): Promise<void> {
    try {
      while (true) {
        const frames = await socket.receive();
        if (frames === null) return;
        onMessage(decodeMessage(this.#connection.key, frames));
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      for (const pending of this.#pending.values()) pending.settle();
    }
  }

  #onReply(message: JupyterMessage): void {
    const pending = this.#pending.get(message.parentId ?? "");
    if (!pending) return;
    pending.reply = message;
    if (pending.idle) pending.settle();
  }

  #onPublished(message: JupyterMessage): void {
    const pending = this.#pending.get(message.parentId ?? "");
    if (!pending) return;
    pending.lastMessageAt = performance.now();
    if (message.type === "status") {
      if (message.content.execution_state !== "idle") return;
      pending.idle = true;
      if (pending.reply) pending.settle();
      return;
    }
    const { type, content, metadata } = message;
    pending.onMessage({ type, content, metadata, late: pending.idle });
  }

  #live(): KernelProcess {
    if (this.#process && !this.#process.exited && !this.#failure) return this.#process;
    throw this.#failure ?? new Error("The Deno kernel is shut down: start another.");
  }

  async #request(
    channel: "shell" | "control",
    type: string,
    content: JsonObject,
    { onMessage = () => {}, quietMs = 0, signal }: ExecuteOptions,
  ): Promise<CellReply> {
    this.#live();
    signal?.throwIfAborted();
    const id = crypto.randomUUID();
    const done = Promise.withResolvers<void>();
    const abort = () => done.resolve();
    const pending: Pending = {
      onMessage,
      settle: done.resolve,
      reply: undefined,
      idle: false,
      lastMessageAt: performance.now(),
    };
    this.#pending.set(id, pending);
    signal?.addEventListener("abort", abort);
    try {
      const { key } = this.#connection;
      await this.#sockets?.[channel].send(
        encodeMessage({ key, session: this.#session, id, type, content }),
      );
      await done.promise;
      signal?.throwIfAborted();
      await this.#awaitQuiet(pending, quietMs);
      if (!pending.reply) throw this.#failure ?? this.#ended("closed its connection");
      return toReply(pending.reply);
    } catch (error) {
      this.#pending.delete(id);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Waits until no cell has published anything for so many milliseconds. */
  async quiet(quietMs = 100): Promise<void> {
    for (const pending of [...this.#pending.values()]) await this.#awaitQuiet(pending, quietMs);
  }

  async #awaitQuiet(pending: Pending, quietMs: number): Promise<void> {
    while (!this.#failure) {
      const left = quietMs - (performance.now() - pending.lastMessageAt);
      if (left <= 0) return;
      await delay(left);
    }
  }

  /** Runs one cell; outputs go to `onMessage` in order. Cells queue in the kernel. */
  execute(code: string, options: ExecuteOptions = {}): Promise<CellReply> {
    const content = {
      code,
      silent: false,
      store_history: true,
      user_expressions: {},
      allow_stdin: false,
      stop_on_error: true,
    };
    return this.#request("shell", "execute_request", content, { quietMs: 100, ...options });
  }

  /** Sends SIGINT, as a front end's stop button does with `interrupt_mode: "signal"`. */
  interrupt(): void {
    this.#live().signal("SIGINT");
  }

  /** Ends the kernel and starts a fresh one on the same ports, as a front end does. */
  async restart(): Promise<void> {
    await this.#stop(true);
    await this.#launch();
  }

  /** Ends the kernel: asks first, kills after two seconds. Safe to call twice. */
  async shutdown(): Promise<void> {
    await this.#stop(false);
    await Deno.remove(this.#folder, { recursive: true }).catch((error: unknown) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  /** Kills the kernel at once, without asking. */
  kill(): void {
    this.#process?.signal("SIGKILL");
  }

  async #stop(restart: boolean): Promise<void> {
    const child = this.#process;
    if (child && !child.exited) {
      if (this.#sockets && !this.#failure) {
        const asked = this.#request("control", "shutdown_request", { restart }, {});
        await Promise.race([asked.catch(() => {}), child.exit, delay(1000)]);
        await Promise.race([child.exit, delay(1000)]);
      }
      child.signal("SIGKILL");
      await child.exit;
    }
    this.#process = undefined;
    for (const socket of Object.values(this.#sockets ?? {})) socket.close();
    this.#sockets = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }
}
