/**
 * Messages of one line each over a process's standard input and output, read in step.
 *
 * Every line written begins with the process's own nonce: whatever else the process prints is told
 * apart by lacking it.
 *
 * @module
 */

const NEWLINE = 10;
const CHUNK_BYTES = 65_536;

/** Reads lines from standard input, waiting with or without blocking the process. */
export class LineReader {
  readonly #read: (chunk: Uint8Array) => number | null;
  readonly #readLater: (chunk: Uint8Array) => Promise<number | null>;
  readonly #decoder = new TextDecoder();
  #pending = new Uint8Array(0);

  constructor(stdin: Pick<typeof Deno.stdin, "read" | "readSync"> = Deno.stdin) {
    this.#read = (chunk) => stdin.readSync(chunk);
    this.#readLater = (chunk) => stdin.read(chunk);
  }

  #take(): string | undefined {
    const end = this.#pending.indexOf(NEWLINE);
    if (end < 0) return undefined;
    const line = this.#decoder.decode(this.#pending.subarray(0, end));
    this.#pending = this.#pending.slice(end + 1);
    return line;
  }

  #append(chunk: Uint8Array): void {
    const joined = new Uint8Array(this.#pending.length + chunk.length);
    joined.set(this.#pending);
    joined.set(chunk, this.#pending.length);
    this.#pending = joined;
  }

  /** The next line; `undefined` at the end. Nothing else runs meanwhile. */
  nextSync(): string | undefined {
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const line = this.#take();
      if (line !== undefined) return line;
      const count = this.#read(chunk);
      if (count === null) return undefined;
      this.#append(chunk.subarray(0, count));
    }
  }

  /** The next line; `undefined` at the end. */
  async next(): Promise<string | undefined> {
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const line = this.#take();
      if (line !== undefined) return line;
      const count = await this.#readLater(chunk);
      if (count === null) return undefined;
      this.#append(chunk.subarray(0, count));
    }
  }
}

/** Writes one message a line, each behind the nonce and a newline of its own. */
export class LineWriter {
  readonly #nonce: string;
  readonly #write: (bytes: Uint8Array) => number;
  readonly #encoder = new TextEncoder();

  constructor(nonce: string, stdout: Pick<typeof Deno.stdout, "writeSync"> = Deno.stdout) {
    this.#nonce = nonce;
    this.#write = (bytes) => stdout.writeSync(bytes);
  }

  write(message: unknown): void {
    const bytes = this.#encoder.encode(`\n${this.#nonce}${JSON.stringify(message)}\n`);
    for (let at = 0; at < bytes.length;) at += this.#write(bytes.subarray(at));
  }
}
