/** One range of one file: asked for, received, checked against the promise, written in its place. */
import type { HubAnswer, HubClient } from "./client.ts";
import { connectionError } from "./connection_error.ts";
import { HubError } from "./error.ts";
import { formatBytes } from "@lib/engine/memory.ts";
import { diskError } from "./layout.ts";
import type { PartialFile } from "./partial_file.ts";
import type { Range } from "./ranges.ts";
import type { FilePromise } from "./redirects.ts";
import type { RemoteFile } from "./remote_file.ts";

/** Thrown where a server sends the whole file although a part was asked for. */
export class RangesIgnored extends Error {
  override readonly name = "RangesIgnored";
}

/** A file under way. */
export interface Transfer {
  readonly client: HubClient;
  readonly commit: string;
  readonly file: RemoteFile;
  readonly partial: PartialFile;
  /** Address of the content in the hub's storage, once known; it is valid for a while. */
  storage: URL | null;
}

const WRITE_BYTES = 1024 * 1024;

/**
 * Fetches a range once, as far as it comes.
 *
 * @param range of the file; what is written is noted in the partial file as it goes
 * @param onReached told of each position up to which the range is written
 * @throws {HubError} refused, cut, slow, or not what was promised
 * @throws {RangesIgnored} the server cannot send parts
 */
export async function fetchRange(
  transfer: Transfer,
  range: Range,
  onReached: (position: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { client, file, partial } = transfer;
  const whole = range[0] === 0 && range[1] === file.bytes;
  const stall = new AbortController();
  const both = AbortSignal.any([signal, stall.signal]);
  const answer = await openRange(transfer, range, whole, both);
  try {
    checkPromise(answer.promised, transfer);
    checkExtent(answer.response, range, whole, transfer);
  } catch (error) {
    await answer.response.body?.cancel();
    throw error;
  }
  using output = await openAt(partial.path, range[0]);
  using watch = watchRate(client, file, stall);
  await receive(answer, range, transfer, { output, watch, signal: both, onReached });
}

async function openRange(
  transfer: Transfer,
  [start, end]: Range,
  whole: boolean,
  signal: AbortSignal,
): Promise<HubAnswer> {
  const { client, commit, file } = transfer;
  const headers = whole ? {} : { range: `bytes=${start}-${end - 1}` };
  const known = transfer.storage;
  try {
    const answer = await client.open(known ?? client.fileUrl(commit, file.path), {
      headers,
      signal,
    });
    const elsewhere = answer.url.origin !== new URL(client.settings.endpoint).origin;
    transfer.storage = elsewhere ? answer.url : null;
    return answer;
  } catch (error) {
    // A signed address runs out; the hub gives a new one.
    transfer.storage = null;
    throw error;
  }
}

/** A mirror that holds other content is told apart before gigabytes are fetched. */
function checkPromise(promised: FilePromise, { file, commit }: Transfer): void {
  const { etag, size } = promised;
  const other = etag !== null && etag.length === file.hash.hex.length && etag !== file.hash.hex
    ? `hash ${file.hash.hex}, found ${etag}`
    : size !== null && size !== file.bytes
    ? `${file.bytes} bytes, found ${size}`
    : promised.commit !== null && promised.commit !== commit
    ? `commit ${commit}, found ${promised.commit}`
    : null;
  if (other === null) return;
  throw new HubError(
    "hash",
    `${file.path}: expected ${other}: the server has another file than its list says. ` +
      "Run this again; if HF_ENDPOINT is set to a mirror, unset it or choose another.",
  );
}

/** Checks status, Content-Range and Content-Length against what was asked. */
function checkExtent(
  { status, headers }: Response,
  [start, end]: Range,
  whole: boolean,
  { file }: Transfer,
): void {
  if (status !== 206 && !whole) throw new RangesIgnored();
  const length = headers.get("content-length");
  if (length !== null && Number(length) !== end - start) {
    throw lengthError(file, `${end - start} bytes`, `${length}`);
  }
  if (status !== 206) return;
  const expected = `bytes ${start}-${end - 1}/${file.bytes}`;
  const found = headers.get("content-range");
  if (found !== expected) throw lengthError(file, expected, found ?? "no Content-Range");
}

function lengthError(file: RemoteFile, expected: string, found: string): HubError {
  return new HubError(
    "length",
    `${file.path}: expected ${expected}, found ${found}. Run this again; if it stays so, a proxy or ` +
      "mirror on the way alters files: unset HF_ENDPOINT, or use another network.",
    { transient: true },
  );
}

async function openAt(path: string, position: number): Promise<Deno.FsFile> {
  const file = await Deno.open(path, { write: true });
  await file.seek(position, Deno.SeekMode.Start);
  return file;
}

interface Sink {
  readonly output: Deno.FsFile;
  readonly watch: RateWatch;
  readonly signal: AbortSignal;
  readonly onReached: (position: number) => void;
}

/** Writes what arrives in large blocks; what has arrived is written also when the connection breaks. */
async function receive(
  { response, url }: HubAnswer,
  [start, end]: Range,
  { file, partial }: Transfer,
  { output, watch, signal, onReached }: Sink,
): Promise<void> {
  const block = new Uint8Array(Math.min(WRITE_BYTES, end - start));
  let filled = 0;
  let written = start;
  const flush = async () => {
    await writeBlock(output, block.subarray(0, filled), partial.path);
    const from = written;
    written += filled;
    filled = 0;
    if (written > from) await partial.add([from, written]);
    onReached(written);
  };
  try {
    for await (let chunk of response.body ?? []) {
      watch.count(chunk.length);
      if (written + filled + chunk.length > end) {
        throw lengthError(file, `${end - start} bytes`, "more");
      }
      while (chunk.length > 0) {
        const part = chunk.subarray(0, block.length - filled);
        block.set(part, filled);
        filled += part.length;
        chunk = chunk.subarray(part.length);
        if (filled === block.length) await flush();
      }
    }
  } catch (error) {
    await flush();
    if (signal.aborted) throw signal.reason;
    throw error instanceof TypeError ? connectionError(error, url, false) : error;
  }
  await flush();
  if (written < end) throw connectionError(null, url, false);
}

async function writeBlock(file: Deno.FsFile, bytes: Uint8Array, path: string): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  } catch (error) {
    throw diskError(error, path);
  }
}

interface RateWatch extends Disposable {
  count(bytes: number): void;
}

/** Gives a connection up that brings less than the policy's bytes in the policy's time. */
function watchRate(client: HubClient, file: RemoteFile, stall: AbortController): RateWatch {
  const { stallMs, stallBytes } = client.policy;
  let bytes = 0;
  const timer = setInterval(() => {
    if (bytes < stallBytes) stall.abort(slowError(file, bytes, stallMs));
    bytes = 0;
  }, stallMs);
  return { count: (more) => bytes += more, [Symbol.dispose]: () => clearInterval(timer) };
}

function slowError(file: RemoteFile, bytes: number, ms: number): HubError {
  return new HubError(
    "slow",
    `${file.path}: the connection is too slow: ${formatBytes(bytes)} in ${
      ms / 1000
    } s. What is here ` +
      "is kept: run this again on a better line, or set HF_ENDPOINT to a nearer mirror.",
    { transient: true },
  );
}
