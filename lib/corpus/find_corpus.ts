/**
 * Choosing the corpus file: the real one when the user has put it into `data/`, else the sample.
 *
 * @module
 */
import { CorpusError } from "./errors.ts";

/** Name of the real file on Kaggle; the space before `.csv` is part of it. */
export const REAL_CORPUS_NAME = "BengaliEmpatheticConversationsCorpus .csv";
/** Name of the corpus that ships with the project. */
export const SAMPLE_CORPUS_NAME = "sample_corpus.csv.gz";

/** A found corpus file. */
export interface FoundCorpus {
  readonly path: string;
  readonly kind: "real" | "sample";
}

/**
 * Whether a file name is the real corpus: any case, with or without the stray space, underscores or
 * hyphens, and with a browser's or an unpacker's " (1)".
 *
 * @example
 * ```ts
 * import { isRealCorpusName } from "@lib/corpus/find_corpus.ts";
 * import { assert } from "@std/assert";
 * assert(isRealCorpusName("BengaliEmpatheticConversationsCorpus .csv"));
 * assert(isRealCorpusName("bengali_empathetic_conversations_corpus (1).csv"));
 * assert(!isRealCorpusName("sample_corpus.csv.gz"));
 * ```
 */
export function isRealCorpusName(name: string): boolean {
  const plain = name.toLowerCase().replace(/\(\d+\)/g, "").replace(/[\s_\-]/g, "");
  return plain === "bengaliempatheticconversationscorpus.csv";
}

/**
 * The corpus file in a folder: the real one first (the exact name before its variants, then by
 * name), else the sample.
 *
 * @throws {CorpusError} when the folder has neither.
 */
export async function findCorpus(directory: string): Promise<FoundCorpus> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (!entry.isDirectory) names.push(entry.name);
    }
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
  }
  const join = (name: string): string => `${directory.replace(/[/\\]$/, "")}/${name}`;
  const real =
    names.filter(isRealCorpusName).sort((a, b) =>
      Number(b === REAL_CORPUS_NAME) - Number(a === REAL_CORPUS_NAME) || (a < b ? -1 : 1)
    )[0];
  if (real !== undefined) return { path: join(real), kind: "real" };
  if (names.includes(SAMPLE_CORPUS_NAME)) return { path: join(SAMPLE_CORPUS_NAME), kind: "sample" };
  throw new CorpusError(
    `Cannot find a corpus in ${directory}: expected "${REAL_CORPUS_NAME}" or ` +
      `"${SAMPLE_CORPUS_NAME}". Restore the sample with "git checkout", or write one with ` +
      `"deno run data/generator/generate.ts".`,
  );
}
