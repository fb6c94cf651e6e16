/** A batch's journal: one record a line as answers are finished, never rewritten. */
import { exists, FileWriteError } from "@lib/files.ts";
import { BatchRecord } from "@lib/generation/batch_record.ts";

function parseLine(line: string): BatchRecord | null {
  try {
    const parsed = BatchRecord.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

/** Appends records to one file. */
export class BatchJournal implements Disposable {
  readonly #file: Deno.FsFile;

  private constructor(
    readonly path: string,
    /** Answers of earlier runs, by key; lines that a crash has torn are not among them. */
    readonly earlier: ReadonlyMap<string, BatchRecord>,
    file: Deno.FsFile,
  ) {
    this.#file = file;
  }

  /** Opens a journal and reads what is in it; made if missing. */
  static async open(path: string): Promise<BatchJournal> {
    const text = await exists(path) ? await Deno.readTextFile(path) : "";
    const records = text.split("\n").map(parseLine).filter((record) => record !== null);
    const earlier = new Map(records.map((record) => [record.key, record]));
    try {
      const parent = path.replace(/[/\\][^/\\]*$/, "");
      if (parent !== path && parent !== "") await Deno.mkdir(parent, { recursive: true });
      const file = await Deno.open(path, { append: true, create: true });
      const journal = new BatchJournal(path, earlier, file);
      if (text !== "" && !text.endsWith("\n")) journal.#write("\n");
      return journal;
    } catch (error) {
      throw error instanceof FileWriteError ? error : new FileWriteError(path, error);
    }
  }

  /** Appends a record. @throws {FileWriteError} the disk is full or gone; earlier lines stay */
  append(record: BatchRecord): void {
    this.#write(`${JSON.stringify(record)}\n`);
  }

  #write(text: string): void {
    try {
      const bytes = new TextEncoder().encode(text);
      for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
    } catch (error) {
      throw new FileWriteError(this.path, error);
    }
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
