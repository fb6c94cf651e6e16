/** Append-only JSON Lines: what has been written stays, a torn line costs only itself. */
import type { z } from "zod";
import { exists, FileWriteError } from "@lib/files.ts";

/** Records read from such a file. */
export interface LoadedRecords<T> {
  readonly records: readonly T[];
  /** Numbers of lines that hold no record: torn by a crash, or edited. */
  readonly unreadable: readonly number[];
}

/**
 * Reads every record of a file; none when there is no file.
 *
 * @example
 * ```ts
 * import { loadJsonl } from "@lib/jsonl_file.ts";
 * import { assertEquals } from "@std/assert";
 * import { z } from "zod";
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, '{"n":1}\n{"n":');
 * assertEquals(await loadJsonl(path, z.strictObject({ n: z.number() })), {
 *   records: [{ n: 1 }],
 *   unreadable: [2],
 * });
 * ```
 */
export async function loadJsonl<T>(path: string, schema: z.ZodType<T>): Promise<LoadedRecords<T>> {
  if (!await exists(path)) return { records: [], unreadable: [] };
  const records: T[] = [];
  const unreadable: number[] = [];
  (await Deno.readTextFile(path)).split("\n").forEach((line, i) => {
    if (line === "") return;
    const parsed = schema.safeParse(parseJson(line));
    if (parsed.success) records.push(parsed.data);
    else unreadable.push(i + 1);
  });
  return { records, unreadable };
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Appends records, one after another however many are given at once. */
export class JsonlFile<T> {
  #queue: Promise<unknown> = Promise.resolve();
  #checked = false;

  constructor(readonly path: string) {}

  /**
   * Appends one record and flushes it to the disk.
   *
   * @throws {FileWriteError} the disk is full or gone; earlier lines are untouched
   */
  append(record: T): Promise<void> {
    const turn = this.#queue.then(() => this.#append(`${JSON.stringify(record)}\n`));
    this.#queue = turn.catch(() => {});
    return turn;
  }

  async #append(line: string): Promise<void> {
    try {
      using file = await Deno.open(this.path, { create: true, append: true, read: true });
      const torn = !this.#checked && await endsInsideLine(file);
      const bytes = new TextEncoder().encode(torn ? `\n${line}` : line);
      for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
      await file.syncData();
      this.#checked = true;
    } catch (error) {
      this.#checked = false;
      throw new FileWriteError(this.path, error);
    }
  }
}

/** A crash can leave half a line behind: the next one must not be glued to it. */
async function endsInsideLine(file: Deno.FsFile): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return false;
  await file.seek(-1, Deno.SeekMode.End);
  const last = new Uint8Array(1);
  await file.read(last);
  return last[0] !== 0x0a;
}
