/**
 * A process of an examination: messages by line, everything else it prints counted and dropped.
 *
 * @module
 */

/** How to start a {@linkcode Child}. */
export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Marks the process's messages. */
  readonly nonce: string;
  /** Bytes that it may print besides messages. */
  readonly printedBytes: number;
  readonly onMessage: (text: string) => void;
  /** The process printed too much. */
  readonly onFlood: () => void;
}

const NEWLINE = 10;
/** Bytes of the longest message. */
const LONGEST_MESSAGE = 64e6;
/** Characters of standard error that are kept. */
const TAIL = 4000;

/** Splits what a process prints into messages and noise. */
class MessageSplitter {
  readonly #options: ChildOptions;
  readonly #decoder = new TextDecoder();
  readonly #nonce: Uint8Array;
  #parts: Uint8Array[] = [];
  #length = 0;
  #noise = 0;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#nonce = new TextEncoder().encode(options.nonce);
  }

  /** Counts bytes that are no message. @returns whether there were too many */
  count(bytes: number): boolean {
    this.#noise += bytes;
    return this.#noise > this.#options.printedBytes;
  }

  #isMessage(): boolean {
    const [first] = this.#parts;
    if (!first) return false;
    const head = first.length >= this.#nonce.length ? first : joined(this.#parts);
    return this.#nonce.every((byte, at) => head[at] === byte);
  }

  /** @returns whether the process printed too much */
  add(chunk: Uint8Array): boolean {
    let rest = chunk;
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      this.#push(rest.subarray(0, end));
      rest = rest.subarray(end + 1);
      if (this.#isMessage()) {
        const text = this.#decoder.decode(joined(this.#parts));
        this.#options.onMessage(text.slice(this.#options.nonce.length));
      } else if (this.count(this.#length + 1)) return true;
      this.#parts = [];
      this.#length = 0;
    }
    this.#push(rest);
    const limit = this.#isMessage() ? LONGEST_MESSAGE : this.#options.printedBytes - this.#noise;
    return this.#length > limit;
  }

  #push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#parts.push(bytes);
    this.#length += bytes.length;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A running process of an examination; disposing of it kills it. */
export class Child implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #splitter: MessageSplitter;
  readonly #onFlood: () => void;
  readonly #drained: Promise<unknown>;
  #tail = "";
  #ended = false;

  constructor(options: ChildOptions) {
    this.#onFlood = options.onFlood;
    this.#splitter = new MessageSplitter(options);
    this.#process = new Deno.Command(options.command, {
      args: [...options.args],
      cwd: options.cwd,
      env: { ...options.env },
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    this.#drained = Promise.all([this.#readMessages(), this.#readErrors()]);
    this.send({ nonce: options.nonce });
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Resolves when the process has ended and all it wrote is read. */
  async ended(): Promise<void> {
    await this.#process.status;
    this.#ended = true;
    await this.#drained;
  }

  /** The last of what it wrote to standard error. */
  get lastWords(): string {
    return this.#tail.trim();
  }

  async #readMessages(): Promise<void> {
    for await (const chunk of this.#process.stdout) {
      if (this.#splitter.add(chunk)) this.#flooded();
    }
  }

  async #readErrors(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#process.stderr) {
      this.#tail = (this.#tail + decoder.decode(chunk, { stream: true })).slice(-TAIL);
      if (this.#splitter.count(chunk.length)) this.#flooded();
    }
  }

  #flooded(): void {
    this.kill();
    this.#onFlood();
  }

  /** Sends one message; one to a process that has ended is lost. */
  send(message: unknown): void {
    this.sendText(JSON.stringify(message));
  }

  /** Sends one message as it is: a line of JSON. */
  sendText(text: string): void {
    this.#stdin.write(new TextEncoder().encode(`${text}\n`)).catch(() => {});
  }

  kill(): void {
    if (this.#ended) return;
    try {
      this.#process.kill("SIGKILL");
    } catch (error) {
      // Between its end and our hearing of it, kill finds no process.
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#stdin.close().catch(() => {});
    await this.ended();
  }
}
