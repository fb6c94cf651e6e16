/** The file that ratings of the page go to. */
import { JsonlFile, loadJsonl } from "@lib/jsonl_file.ts";
import { RatingRecord } from "./ratings.ts";

/** Keeps ratings; one that is sent twice is kept once. */
export class RatingStore {
  readonly #file: JsonlFile<RatingRecord>;
  readonly #known: Set<string>;

  private constructor(path: string, known: Set<string>) {
    this.#file = new JsonlFile(path);
    this.#known = known;
  }

  /** Opens the store; its file is made with the first rating. */
  static async open(path: string): Promise<RatingStore> {
    const { records } = await loadJsonl(path, RatingRecord);
    return new RatingStore(path, new Set(records.map((record) => record.submission)));
  }

  /** Keeps a rating. @throws {FileWriteError} when it could not be written */
  async add(record: RatingRecord): Promise<void> {
    if (this.#known.has(record.submission)) return;
    this.#known.add(record.submission);
    try {
      await this.#file.append(record);
    } catch (error) {
      this.#known.delete(record.submission);
      throw error;
    }
  }
}
