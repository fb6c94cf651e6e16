/** A file that is being fetched, with a record of the ranges that are there, so that it can go on. */
import { z } from "zod";
import { exists, saveJson } from "@lib/files.ts";
import { addRange, missingRanges, type Range, rangeBytes } from "./ranges.ts";

const position = z.number().int().min(0);
const Record = z.strictObject({
  bytes: position,
  done: z.array(z.tuple([position, position])),
});

/** Least milliseconds between two savings of the record. */
const SAVE_MS = 1000;

/** A sparse file of its final length, and which ranges of it hold content. */
export class PartialFile {
  #done: readonly Range[];
  #savedAt = performance.now();
  #saving: Promise<void> = Promise.resolve();

  private constructor(
    readonly path: string,
    readonly recordPath: string,
    readonly bytes: number,
    done: readonly Range[],
  ) {
    this.#done = done;
  }

  /** Goes on with what is there; a record that does not fit the file is not believed. */
  static async open(path: string, recordPath: string, bytes: number): Promise<PartialFile> {
    const done = await loadRecord(path, recordPath, bytes);
    if (done.length === 0) {
      using file = await Deno.open(path, { create: true, write: true });
      await file.truncate(0);
      await file.truncate(bytes);
    }
    return new PartialFile(path, recordPath, bytes, done);
  }

  /** What is still to be fetched. */
  get missing(): Range[] {
    return missingRanges(this.#done, this.bytes);
  }

  /** Bytes that are there. */
  get bytesDone(): number {
    return rangeBytes(this.#done);
  }

  /** Notes that a range was written. */
  async add(range: Range): Promise<void> {
    this.#done = addRange(this.#done, range);
    if (performance.now() - this.#savedAt >= SAVE_MS) await this.save();
  }

  /** Forgets all content, on disk too. */
  async reset(): Promise<void> {
    this.#done = [];
    await this.save();
  }

  /** Saves the record. */
  async save(): Promise<void> {
    this.#savedAt = performance.now();
    this.#saving = this.#saving.catch(() => {}).then(() =>
      saveJson(this.recordPath, { bytes: this.bytes, done: this.#done })
    );
    await this.#saving;
  }

  /** Makes the finished file permanent under another name and removes the record. */
  async publish(target: string): Promise<void> {
    {
      using file = await Deno.open(this.path, { read: true, write: true });
      await file.syncData();
    }
    await this.#saving.catch(() => {});
    await Deno.rename(this.path, target);
    await removeIfThere(this.recordPath);
  }

  /** Removes content and record. */
  async discard(): Promise<void> {
    await this.#saving.catch(() => {});
    await removeIfThere(this.path);
    await removeIfThere(this.recordPath);
  }
}

/** Bytes a record says are there; 0 where it cannot be read. */
export async function recordedBytes(recordPath: string): Promise<number> {
  const record = await readRecord(recordPath);
  return record === null ? 0 : rangeBytes(record.done);
}

async function readRecord(recordPath: string): Promise<z.infer<typeof Record> | null> {
  if (!await exists(recordPath)) return null;
  try {
    return Record.parse(JSON.parse(await Deno.readTextFile(recordPath)));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}

async function loadRecord(path: string, recordPath: string, bytes: number): Promise<Range[]> {
  const record = await readRecord(recordPath);
  if (record === null || record.bytes !== bytes || !await exists(path)) return [];
  if ((await Deno.stat(path)).size !== bytes) return [];
  if (record.done.some(([start, end]) => start > end || end > bytes)) return [];
  return record.done.reduce<Range[]>((ranges, range) => addRange(ranges, range), []);
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
