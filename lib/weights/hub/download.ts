/** Fetching files of one repository into the cache: many ranges at once, resumable, checked. */
import { exists } from "@lib/files.ts";
import type { HubClient } from "./client.ts";
import { requireSpace } from "./disk_space.ts";
import { completeJob, type Job, openJob } from "./job.ts";
import { diskError, type ModelCache } from "./layout.ts";
import { type Range, rangeBytes, splitRanges } from "./ranges.ts";
import type { RemoteFile } from "./remote_file.ts";
import { retry } from "./retry.ts";
import { fetchRange, RangesIgnored } from "./transfer.ts";

/** How a download stands. */
export interface DownloadProgress {
  /** Bytes of these files that are here, what was here before included. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** The file that just moved. */
  readonly file: string;
  readonly phase: "fetch" | "check";
}

/** Options of {@linkcode downloadFiles}. */
export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Requests at once. @default {8} */
  readonly connections?: number | undefined;
  /** Longest range of one request, in bytes. @default 8 to 64 MiB, by the file's size */
  readonly pieceBytes?: number | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** A line for the person who waits. */
  readonly onMessage?: ((line: string) => void) | undefined;
  readonly freeBytes?: ((folder: string) => Promise<number | null>) | undefined;
}

const CONNECTIONS = 8;
/** Bounds of a piece, so that a file occupies all connections and a request is worth its while. */
const MIN_PIECE_BYTES = 8 * 1024 * 1024;
const MAX_PIECE_BYTES = 64 * 1024 * 1024;

interface Piece {
  readonly job: Job;
  readonly range: Range;
}

/**
 * Fetches what is missing of the files into the snapshot of a commit. What is complete is checked
 * against its hash before it appears there.
 *
 * @throws {HubError} with the next step; the signal's reason when aborted. What was fetched is kept.
 */
export async function downloadFiles(
  client: HubClient,
  cache: ModelCache,
  commit: string,
  files: readonly RemoteFile[],
  options: DownloadOptions = {},
): Promise<void> {
  const download = new Download(client, cache, commit, files, options);
  try {
    await download.run();
  } catch (error) {
    throw diskError(error, cache.folder);
  }
}

class Download {
  readonly #jobs: Job[] = [];
  readonly #queue: Piece[] = [];
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #bytesTotal: number;
  readonly #connections: number;

  constructor(
    readonly client: HubClient,
    readonly cache: ModelCache,
    readonly commit: string,
    readonly files: readonly RemoteFile[],
    readonly options: DownloadOptions,
  ) {
    const { signal } = options;
    this.#signal = AbortSignal.any(signal ? [signal, this.#failed.signal] : [this.#failed.signal]);
    this.#connections = options.connections ?? CONNECTIONS;
    this.#bytesTotal = files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async run(): Promise<void> {
    const { cache, options } = this;
    try {
      await Deno.mkdir(cache.blobs, { recursive: true });
      for (const file of this.files) await this.#begin(file);
      const needed = this.#jobs.reduce((sum, { partial }) => sum + rangeBytes(partial.missing), 0);
      await requireSpace(cache.cache, needed, options.freeBytes);
      for (const job of this.#jobs) this.#enqueue(job);
      const [first] = this.#jobs;
      if (first !== undefined) this.#report(first, "fetch"); // what is here before any of it arrives
      await this.#round();
      for (const job of this.#jobs.filter(({ again }) => again)) this.#enqueue(job);
      await this.#round();
    } finally {
      await this.#end();
    }
  }

  /** Links what is here already; opens a partial file for what is not. */
  async #begin(file: RemoteFile): Promise<void> {
    const { client, cache, commit, options: { signal, onMessage } } = this;
    const twin = this.#jobs.find((job) => job.file.hash.hex === file.hash.hex);
    if (twin !== undefined) return void twin.paths.push(file.path);
    const job = await openJob(client, cache, commit, file, { signal, onMessage });
    if (job !== null) this.#jobs.push(job);
  }

  #enqueue(job: Job): void {
    const { bytes } = job.file;
    const all: Range = [0, bytes];
    const ranges = job.whole ? [all] : splitRanges(job.partial.missing, this.#pieceBytes(bytes));
    // An empty piece takes a file that lacks nothing to its check.
    const pieces = ranges.length === 0 ? [[0, 0] as const] : ranges;
    job.pending = pieces.length;
    this.#queue.push(...pieces.map((range) => ({ job, range })));
  }

  #pieceBytes(fileBytes: number): number {
    const { pieceBytes } = this.options;
    if (pieceBytes !== undefined) return pieceBytes;
    const share = Math.ceil(fileBytes / (4 * this.#connections));
    return Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, share));
  }

  /** Fetches all pieces in the queue. */
  async #round(): Promise<void> {
    const workers = Array.from({ length: this.#connections }, () => this.#work());
    const results = await Promise.allSettled(workers);
    this.options.signal?.throwIfAborted();
    if (results.some(({ status }) => status === "rejected")) throw this.#failed.signal.reason;
  }

  async #work(): Promise<void> {
    try {
      for (let piece = this.#queue.shift(); piece; piece = this.#queue.shift()) {
        this.#signal.throwIfAborted();
        const { job, range } = piece;
        const { stop } = job;
        if (range[0] < range[1] && !await this.#fetch(job, range)) continue;
        if (stop !== job.stop) continue; // the file was begun anew meanwhile
        if (--job.pending === 0) await this.#complete(job);
      }
    } catch (error) {
      this.#failed.abort(error);
      throw error;
    }
  }

  /** Fetches one piece, trying again from where it broke off. @returns false when it was called off */
  async #fetch(job: Job, range: Range): Promise<boolean> {
    const { policy } = this.client;
    const { stop } = job;
    const signal = AbortSignal.any([this.#signal, stop.signal]);
    let reached = range[0];
    let before = range[0];
    const attempt = async () => {
      before = reached;
      if (job.whole) [reached, before] = [range[0], range[0]];
      if (job.whole) await job.partial.reset();
      await fetchRange(job, [reached, range[1]], (position) => {
        reached = position;
        this.#report(job, "fetch");
      }, signal);
    };
    try {
      await retry(attempt, {
        policy,
        signal,
        progressed: () => !job.whole && reached - before >= policy.stallBytes,
        onRetry: this.client.options.onRetry,
      });
      return true;
    } catch (error) {
      if (stop.signal.aborted && !this.#signal.aborted) return false;
      if (!(error instanceof RangesIgnored)) throw error;
      await this.#fetchWhole(job);
      return false;
    }
  }

  /** From now on one request for the whole file: its server cannot send parts. */
  async #fetchWhole(job: Job): Promise<void> {
    job.stop.abort(new RangesIgnored());
    job.stop = new AbortController();
    job.whole = true;
    job.storage = null;
    const others = this.#queue.filter((piece) => piece.job !== job);
    this.#queue.splice(0, this.#queue.length, ...others);
    await job.partial.reset();
    this.#enqueue(job);
  }

  /** Checks a file and puts it into the snapshot; where its hash is wrong, a second round follows. */
  async #complete(job: Job): Promise<void> {
    const onBytes = () => this.#report(job, "check");
    if (await completeJob(job, this.cache, { signal: this.#signal, onBytes })) return;
    this.options.onMessage?.(`${job.file.path}: its hash is wrong; fetching it once more`);
  }

  #report(job: Job, phase: DownloadProgress["phase"]): void {
    const missing = this.#jobs.reduce((sum, { partial }) => sum + rangeBytes(partial.missing), 0);
    this.options.onProgress?.({
      bytesDone: this.#bytesTotal - missing,
      bytesTotal: this.#bytesTotal,
      file: job.file.path,
      phase,
    });
  }

  /** Leaves a state that the next run goes on from. */
  async #end(): Promise<void> {
    for (const { partial, lock } of this.#jobs) {
      if (await exists(partial.path)) await partial.save().catch(() => {});
      lock[Symbol.dispose]();
    }
  }
}
