/**
 * Legacy cleaning: the original project's rules exactly, so that its counts can be reproduced
 * (38,233 rows → 76,466 turns → 76,338 kept → 38,105 pairs on the real CSV). What it yields is
 * labelled legacy; new work uses strict cleaning.
 *
 * The rules: a user turn is `[topic] title question` (empty parts left out) and an assistant turn the
 * answer; control characters are deleted after NFC (line breaks too, which glues words together),
 * white space is collapsed; a turn of at most five code points is dropped, and with it its pair.
 *
 * @module
 */
import type { CorpusRow } from "./csv.ts";
import type { CleanRecord } from "./records.ts";
import { conversationRuns } from "./runs.ts";
import { codePointLength } from "./text_key.ts";

/** A turn of at most this many code points is dropped. */
export const LEGACY_MAX_DROPPED_LENGTH = 5;

/** The counts of legacy cleaning, as the original project reports them. */
export interface LegacyReport {
  readonly mode: "legacy";
  readonly rawRows: number;
  /** Two a row. */
  readonly rawTurns: number;
  readonly keptTurns: number;
  /** Rows both of whose turns were kept. */
  readonly keptRows: number;
}

/** Result of {@linkcode cleanLegacy}. */
export interface LegacyResult {
  /** The pairs, field by field; the original's user turn is `[topic] title question` of them. */
  readonly records: readonly CleanRecord[];
  /** Rows with a dropped turn. */
  readonly droppedRows: readonly number[];
  readonly report: LegacyReport;
}

/**
 * The original's normalisation.
 *
 * @example
 * ```ts
 * import { legacyNormalize } from "@lib/corpus/legacy.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(legacyNormalize("মন\nভালো   নেই "), "মনভালো নেই");
 * ```
 */
export function legacyNormalize(text: string): string {
  // deno-lint-ignore no-control-regex -- the original deletes control characters
  return text.normalize("NFC").replace(/[\u0000-\u001f\u007f-\u009f]/g, "").replace(/\s+/gu, " ")
    .trim();
}

/** The original's user turn: `[topic] title question`, empty parts left out. */
export function legacyUserTurn(row: CorpusRow): string {
  const parts = [row.topic === "" ? "" : `[${row.topic}]`, row.title, row.question];
  return legacyNormalize(parts.filter((part) => part !== "").join(" "));
}

/** Clean a corpus by the original's rules. */
export function cleanLegacy(rows: readonly CorpusRow[]): LegacyResult {
  const { runs } = conversationRuns(rows);
  const droppedRows: number[] = [];
  let keptTurns = 0;
  const records = rows.flatMap((row, i): CleanRecord[] => {
    const answer = legacyNormalize(row.answer);
    const kept = [legacyUserTurn(row), answer].filter((turn) =>
      codePointLength(turn) > LEGACY_MAX_DROPPED_LENGTH
    ).length;
    keptTurns += kept;
    if (kept < 2) {
      droppedRows.push(row.row);
      return [];
    }
    return [{
      row: row.row,
      run: runs[i]!,
      topic: legacyNormalize(row.topic),
      title: legacyNormalize(row.title),
      question: legacyNormalize(row.question),
      answer,
    }];
  });
  return {
    records,
    droppedRows,
    report: {
      mode: "legacy",
      rawRows: rows.length,
      rawTurns: 2 * rows.length,
      keptTurns,
      keptRows: records.length,
    },
  };
}
