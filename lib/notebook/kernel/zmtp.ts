/**
 * A ZeroMQ client socket in plain TypeScript: ZMTP 3.0 with the NULL mechanism over TCP, which is
 * all that a Jupyter kernel speaks. npm:zeromq would need an install script in every clean clone.
 *
 * Source: https://rfc.zeromq.org/spec/23/ (ZMTP 3.0). A peer exchanges a 64-byte greeting, one READY
 * command each, then multipart messages whose frames are `flags, length, body`.
 *
 * @module
 */

/** The three client roles that a Jupyter front end plays. */
export type ZmtpSocketType = "DEALER" | "REQ" | "SUB";

const FLAG_MORE = 0x01;
const FLAG_LONG = 0x02;
const FLAG_COMMAND = 0x04;
const GREETING_BYTES = 64;
/** A frame longer than this is a broken peer, not a cell's output. */
const MAX_FRAME_BYTES = 1 << 30;

const utf8 = new TextEncoder();

function greeting(): Uint8Array {
  const bytes = new Uint8Array(GREETING_BYTES);
  bytes.set([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]);
  bytes.set(utf8.encode("NULL"), 12);
  return bytes;
}

/** Encodes one frame as it goes on the wire. */
export function encodeFrame(body: Uint8Array, flags: number): Uint8Array {
  const long = body.length > 255;
  const head = long ? 9 : 2;
  const frame = new Uint8Array(head + body.length);
  frame[0] = flags | (long ? FLAG_LONG : 0);
  if (long) new DataView(frame.buffer).setBigUint64(1, BigInt(body.length));
  else frame[1] = body.length;
  frame.set(body, head);
  return frame;
}

function readyCommand(type: ZmtpSocketType, identity: string): Uint8Array {
  const parts: number[] = [5, ...utf8.encode("READY")];
  for (const [name, value] of [["Socket-Type", type], ["Identity", identity]] as const) {
    const encoded = utf8.encode(value);
    parts.push(name.length, ...utf8.encode(name), 0, 0, 0, encoded.length, ...encoded);
  }
  return encodeFrame(new Uint8Array(parts), FLAG_COMMAND);
}

/** Reads exact byte counts from a connection, through one growing buffer. */
class ByteReader {
  #buffer = new Uint8Array(1 << 16);
  #start = 0;
  #end = 0;

  constructor(readonly connection: Deno.TcpConn) {}

  /** The next `count` bytes, or `null` where the peer closed first. */
  async read(count: number): Promise<Uint8Array | null> {
    this.#makeRoom(count);
    while (this.#end - this.#start < count) {
      const got = await this.connection.read(this.#buffer.subarray(this.#end));
      if (got === null) return null;
      this.#end += got;
    }
    const bytes = this.#buffer.slice(this.#start, this.#start + count);
    this.#start += count;
    return bytes;
  }

  /** Makes `count` bytes from the start fit the buffer, by moving or growing it. */
  #makeRoom(count: number): void {
    if (this.#start + count <= this.#buffer.length) return;
    const held = this.#buffer.subarray(this.#start, this.#end);
    const next = new Uint8Array(Math.max(this.#buffer.length, 2 * count));
    next.set(held);
    this.#buffer = next;
    this.#start = 0;
    this.#end = held.length;
  }
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** One connected socket. Messages are arrays of frames; nothing is dropped or reordered. */
export class ZmtpSocket {
  readonly #connection: Deno.TcpConn;
  readonly #reader: ByteReader;
  #sending: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
    this.#reader = new ByteReader(connection);
  }

  /**
   * Connects to `hostname:port` and completes the handshake.
   *
   * @throws {Error} where nothing listens, or what listens does not speak ZMTP 3.
   */
  static async connect(
    { hostname = "127.0.0.1", port, type, identity = "" }: {
      readonly hostname?: string;
      readonly port: number;
      readonly type: ZmtpSocketType;
      readonly identity?: string;
    },
  ): Promise<ZmtpSocket> {
    const connection = await Deno.connect({ hostname, port });
    const socket = new ZmtpSocket(connection);
    try {
      connection.setNoDelay(true);
      await writeAll(connection, greeting());
      const peer = await socket.#reader.read(GREETING_BYTES);
      if (peer === null || peer[0] !== 0xff || peer[9] !== 0x7f || (peer[10] ?? 0) < 3) {
        throw new Error(
          `Cannot talk to ${hostname}:${port}: expected a ZMTP 3 greeting, found ` +
            `${peer === null ? "a closed connection" : "another protocol"}. ` +
            `Is another program on this port? Start the kernel again.`,
        );
      }
      await writeAll(connection, readyCommand(type, identity));
      await socket.#awaitReady(port);
      if (type === "SUB") await socket.send([new Uint8Array([1])]); // subscribe to every topic
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  async #awaitReady(port: number): Promise<void> {
    const frame = await this.#readFrame();
    const isReady = frame !== null && (frame.flags & FLAG_COMMAND) !== 0 &&
      new TextDecoder().decode(frame.body.subarray(1, 6)) === "READY";
    if (isReady) return;
    throw new Error(
      `Cannot talk to port ${port}: expected the ZMTP command READY, found ` +
        `${frame === null ? "a closed connection" : "another frame"}. Start the kernel again.`,
    );
  }

  /** Sends one multipart message; concurrent sends never interleave. */
  send(frames: readonly Uint8Array[]): Promise<void> {
    const last = frames.length - 1;
    const encoded = frames.map((body, at) => encodeFrame(body, at < last ? FLAG_MORE : 0));
    const bytes = new Uint8Array(encoded.reduce((sum, frame) => sum + frame.length, 0));
    let at = 0;
    for (const frame of encoded) {
      bytes.set(frame, at);
      at += frame.length;
    }
    const sent = this.#sending.then(() => writeAll(this.#connection, bytes));
    this.#sending = sent.catch(() => {});
    return sent;
  }

  /** The next multipart message, or `null` once the connection is closed by either side. */
  async receive(): Promise<Uint8Array[] | null> {
    const frames: Uint8Array[] = [];
    while (true) {
      const frame = await this.#readFrame();
      if (frame === null) return null;
      if (frame.flags & FLAG_COMMAND) continue;
      frames.push(frame.body);
      if (!(frame.flags & FLAG_MORE)) return frames;
    }
  }

  async #readFrame(): Promise<{ flags: number; body: Uint8Array } | null> {
    try {
      const flags = (await this.#reader.read(1))?.[0];
      if (flags === undefined) return null;
      const head = await this.#reader.read(flags & FLAG_LONG ? 8 : 1);
      if (head === null) return null;
      const length = flags & FLAG_LONG
        ? Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0))
        : head[0] ?? 0;
      if (length > MAX_FRAME_BYTES) {
        throw new Error(`Cannot read a ZMTP frame of ${length} bytes: the limit is 1 GiB`);
      }
      const body = await this.#reader.read(length);
      return body === null ? null : { flags, body };
    } catch (error) {
      const gone = error instanceof Deno.errors.ConnectionReset ||
        error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted;
      if (this.#closed || gone) return null;
      throw error;
    }
  }

  /** Closes the connection; pending `receive` calls answer `null`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#connection.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
