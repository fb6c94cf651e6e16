/**
 * Reading the corpus CSV: four columns, strict about everything that would silently lose text.
 *
 * @module
 */
// @ts-types="./std_csv.d.ts"
import { parse } from "@std/csv";
import { gunzipped } from "@lib/gzip.ts";
import { decodeUtf8 } from "./encoding.ts";
import { CorpusError } from "./errors.ts";
import { type Field, type Header, resolveHeader } from "./header.ts";
import { findStrayQuote } from "./stray_quote.ts";

/** One data row as it stands in the file. `row` counts data rows from 1 (the header is not one). */
export interface CorpusRow {
  readonly row: number;
  readonly topic: string;
  readonly title: string;
  readonly question: string;
  readonly answer: string;
}

/** A read corpus with what the reader noticed but could repair. */
export interface Corpus {
  /** The file's path, or the name given. */
  readonly source: string;
  readonly rows: readonly CorpusRow[];
  /** Columns beside the four, not used. */
  readonly ignoredColumns: readonly string[];
  /** Row numbers with fewer fields than the header; the missing ones are "". */
  readonly shortRows: readonly number[];
}

/** Options of {@linkcode parseCorpus}. */
export interface ParseCorpusOptions {
  /**
   * Name of the file, for errors.
   * @default "the CSV text"
   */
  readonly source?: string;
  /**
   * Keep a stray quote as text instead of refusing the file.
   * @default false
   */
  readonly lazyQuotes?: boolean;
}

function parseTable(text: string, source: string, lazyQuotes: boolean): string[][] {
  try {
    return parse(text, { lazyQuotes });
  } catch (cause) {
    const at = findStrayQuote(text);
    if (at === undefined) throw cause;
    throw new CorpusError(
      `Cannot read ${source}: expected every quoted field closed and every quote inside one doubled, ` +
        `found a stray quote (") in data row ${at.row}, line ${at.line}, column ${at.column}. ` +
        `Put the field in quotes and double each quote inside it (""), or read the file with ` +
        `lazyQuotes to keep stray quotes as text.`,
      { cause },
    );
  }
}

function toRow(fields: readonly string[], header: Header, row: number, source: string): CorpusRow {
  const extra = fields.slice(header.width).filter((field) => field.trim() !== "");
  if (extra.length > 0) {
    throw new CorpusError(
      `Cannot read ${source}: expected ${header.width} fields in data row ${row}, found ` +
        `${fields.length}. Put a field that contains a comma in quotes.`,
    );
  }
  const field = (name: Field): string => fields[header.index[name]] ?? "";
  return {
    row,
    topic: field("topic"),
    title: field("title"),
    question: field("question"),
    answer: field("answer"),
  };
}

/**
 * Parse a corpus from CSV text. Blank lines are skipped; rows with too few fields are filled with
 * "" and listed in `shortRows`.
 *
 * @throws {CorpusError} on an empty text, a missing or doubled column, a stray quote, a row with too
 * many fields: always with the file and the row.
 * @example
 * ```ts
 * import { parseCorpus } from "@lib/corpus/csv.ts";
 * import { assertEquals } from "@std/assert";
 * const { rows } = parseCorpus("Topics,Question-Title,Questions,Answers\n[গর্বিত],ফল,পাশ করেছি।,বাহ!\n");
 * assertEquals(rows[0]?.answer, "বাহ!");
 * ```
 */
export function parseCorpus(text: string, options: ParseCorpusOptions = {}): Corpus {
  const { source = "the CSV text", lazyQuotes = false } = options;
  const body = text.startsWith("\ufeff") ? text.slice(1) : text;
  if (body.trim() === "") {
    throw new CorpusError(
      `Cannot read ${source}: expected a header and rows, found an empty file. ` +
        `Download or copy the file again, or remove it to use the sample corpus.`,
    );
  }
  const lines = body.includes("\n") ? body : body.replaceAll("\r", "\n");
  const [names, ...table] = parseTable(lines, source, lazyQuotes);
  const header = resolveHeader(names ?? [], source);
  if (table.length === 0) {
    throw new CorpusError(
      `Cannot read ${source}: expected data rows below the header, found none. ` +
        `Download or copy the file again, or remove it to use the sample corpus.`,
    );
  }
  const rows = table.map((fields, i) => toRow(fields, header, i + 1, source));
  const shortRows = rows.filter((_, i) => table[i]!.length < header.width).map((r) => r.row);
  return { source, rows, ignoredColumns: header.ignored, shortRows };
}

/**
 * Read and parse a corpus file (UTF-8, with or without byte order mark), gzipped or plain.
 *
 * @throws {CorpusError} as {@linkcode parseCorpus}, and when the file is missing, a torn gzip file or
 * not UTF-8.
 */
export async function loadCorpus(
  path: string | URL,
  options: Omit<ParseCorpusOptions, "source"> = {},
): Promise<Corpus> {
  const source = path instanceof URL ? decodeURIComponent(path.pathname) : path;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await Deno.readFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) {
      throw new CorpusError(
        `Cannot read ${source}: there is no such file. Put the corpus CSV into data/, or give its path.`,
        { cause },
      );
    }
    throw cause;
  }
  const plain = await gunzipped(bytes).catch((cause: unknown) => {
    throw new CorpusError(
      `Cannot read ${source}: expected a whole gzip file, found one that cannot be unpacked. ` +
        `Download or copy the file again.`,
      { cause },
    );
  });
  return parseCorpus(decodeUtf8(plain, source), { ...options, source });
}
