/**
 * Strict cleaning: normalise every field, drop what cannot teach, mask personal data, set apart what
 * a human must see first. Every row is either kept or has one reason code.
 *
 * @module
 */
import { type OnPhase, partOf, phaseOf } from "@lib/phases.ts";
import type { CorpusRow } from "./csv.ts";
import { findDuplicates, NEAR_DUPLICATE_THRESHOLD } from "./dedupe.ts";
import { type FilteredTexts, rowDropReason } from "./filters.ts";
import { NORMALIZATION_STEPS, type NormalizationStepId } from "./normalize.ts";
import { maskPersonalData, type PiiKind } from "./pii.ts";
import { quarantineFinding } from "./quarantine.ts";
import { DROP_REASON_CODES, type DropReason, isQuarantine } from "./reasons.ts";
import type { CleanRecord, DroppedRow } from "./records.ts";
import { conversationRuns } from "./runs.ts";

/** Options of {@linkcode cleanStrict}. */
export interface CleanOptions {
  /**
   * Least share of Bengali letters among the letters of question and of answer.
   * @default 0.7
   */
  readonly minBengaliShare?: number;
  /**
   * Jaccard similarity of letter 5-grams from which a row is a near-duplicate.
   * @default 0.9
   */
  readonly nearDuplicateThreshold?: number;
  /**
   * Before/after examples kept per step.
   * @default 3
   */
  readonly examplesPerStep?: number;
  readonly onPhase?: OnPhase | undefined;
}

/** One field before and after one step of cleaning. */
export interface ChangeExample {
  readonly step: NormalizationStepId | `mask_${PiiKind}`;
  readonly row: number;
  readonly field: keyof FilteredTexts;
  readonly before: string;
  readonly after: string;
}

/** Every count of a strict cleaning. */
export interface CleanReport {
  readonly mode: "strict";
  readonly rawRows: number;
  readonly keptRows: number;
  /** Rows by reason code, all codes present. `rawRows` = `keptRows` + their sum. */
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** Rows that each normalisation step changed (dropped rows too). */
  readonly changed: Readonly<Record<NormalizationStepId, number>>;
  /** Placeholders put into kept rows. */
  readonly masked: Readonly<Record<PiiKind, number>>;
  /** Same-topic runs too long to be one dialogue (a file sorted by topic). */
  readonly longRuns: number;
}

/** Result of {@linkcode cleanStrict}. */
export interface CleanResult {
  readonly records: readonly CleanRecord[];
  /** Discarded rows with their reason, in file order. */
  readonly dropped: readonly DroppedRow[];
  /** Rows set apart for review, in file order. */
  readonly quarantined: readonly DroppedRow[];
  readonly report: CleanReport;
  readonly examples: readonly ChangeExample[];
}

const FIELDS = ["topic", "title", "question", "answer"] as const;

/** Collects how often each step changed a row, and a few examples of each. */
class ChangeLog {
  readonly changed = Object.fromEntries(NORMALIZATION_STEPS.map((step) => [step.id, 0])) as Record<
    NormalizationStepId,
    number
  >;
  readonly masked: Record<PiiKind, number> = { url: 0, email: 0, phone: 0 };
  readonly examples: ChangeExample[] = [];
  readonly #limit: number;
  readonly #kept = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  example(example: ChangeExample): void {
    const kept = this.#kept.get(example.step) ?? 0;
    if (kept >= this.#limit) return;
    this.#kept.set(example.step, kept + 1);
    this.examples.push(example);
  }
}

/** All normalisation steps on all fields of a row, with the changes noted. */
function normalizeRow(row: CorpusRow, log: ChangeLog): FilteredTexts {
  const texts = { topic: row.topic, title: row.title, question: row.question, answer: row.answer };
  for (const step of NORMALIZATION_STEPS) {
    let changed = false;
    for (const field of FIELDS) {
      const before = texts[field];
      const after = step.apply(before);
      if (after === before) continue;
      texts[field] = after;
      changed = true;
      log.example({ step: step.id, row: row.row, field, before, after });
    }
    if (changed) log.changed[step.id]++;
  }
  return texts;
}

/** Placeholders in title, question and answer, with the changes noted. */
function maskRow(record: CleanRecord, log: ChangeLog): CleanRecord {
  const masked = { ...record };
  for (const field of ["title", "question", "answer"] as const) {
    const { text, counts } = maskPersonalData(record[field]);
    if (text === record[field]) continue;
    masked[field] = text;
    for (const kind of Object.keys(counts) as PiiKind[]) {
      log.masked[kind] += counts[kind];
      if (counts[kind] === 0) continue;
      const before = record[field];
      log.example({ step: `mask_${kind}`, row: record.row, field, before, after: text });
    }
  }
  return masked;
}

/** Share of the cleaning of single rows that is normalising; the rest is judging them. */
const NORMALIZING = 0.35;

const cleaningOf = ({ onPhase }: CleanOptions) => phaseOf(onPhase, "cleaning");

/** Drops of one kind, collected by row. */
type Drops = Map<number, Omit<DroppedRow, "row" | "topic" | "title" | "question" | "answer">>;

/** Steps 6 and 7: rows that are bad alone, then rows that repeat an earlier one. */
function findDrops(
  records: readonly CleanRecord[],
  options: CleanOptions,
): Drops {
  const drops: Drops = new Map();
  const { minBengaliShare = 0.7, nearDuplicateThreshold = NEAR_DUPLICATE_THRESHOLD } = options;
  const filtering = partOf(cleaningOf(options), NORMALIZING, 1);
  for (const [done, record] of records.entries()) {
    const reason = rowDropReason(record, { minBengaliShare });
    filtering?.(done + 1, records.length);
    if (reason !== undefined) drops.set(record.row, { reason });
  }
  const left = records.filter((record) => !drops.has(record.row));
  const comparing = phaseOf(options.onPhase, "near-duplicates");
  const texts = left.map(({ question, answer }) => `${question}\n${answer}`);
  const search = { threshold: nearDuplicateThreshold, onProgress: comparing };
  for (const duplicate of findDuplicates(texts, search)) {
    drops.set(left[duplicate.index]!.row, {
      reason: duplicate.kind === "exact" ? "exact_duplicate" : "near_duplicate",
      duplicateOf: left[duplicate.of]!.row,
      similarity: Math.round(duplicate.similarity * 1e4) / 1e4,
    });
  }
  const reading = phaseOf(options.onPhase, "quarantine");
  for (const [done, { row, question, answer }] of left.entries()) {
    reading?.(done + 1, left.length);
    if (drops.has(row)) continue;
    const finding = quarantineFinding(question, answer);
    if (finding !== undefined) drops.set(row, finding);
  }
  return drops;
}

/**
 * Clean a corpus strictly.
 *
 * @returns Kept records, dropped and quarantined rows, counts that add up, and examples.
 * @example
 * ```ts
 * import { cleanStrict } from "@lib/corpus/clean.ts";
 * import { assertEquals } from "@std/assert";
 * const row = { row: 1, topic: "[একাকী]", title: "একা", question: "কেউ নেই .", answer: "শুনছি ।" };
 * const { dropped } = cleanStrict([row]);
 * assertEquals(dropped[0]?.reason, "one_word_answer");
 * ```
 */
export function cleanStrict(rows: readonly CorpusRow[], options: CleanOptions = {}): CleanResult {
  const log = new ChangeLog(options.examplesPerStep ?? 3);
  const { runs, longRuns } = conversationRuns(rows);
  const normalizing = partOf(cleaningOf(options), 0, NORMALIZING);
  const all = rows.map((row, i): CleanRecord => {
    normalizing?.(i + 1, rows.length);
    return { row: row.row, run: runs[i]!, ...normalizeRow(row, log) };
  });
  const drops = findDrops(all, options);
  const records = all.filter((record) => !drops.has(record.row)).map((r) => maskRow(r, log));
  const counts = Object.fromEntries(DROP_REASON_CODES.map((code) => [code, 0])) as Record<
    DropReason,
    number
  >;
  const notKept = rows.flatMap((row): DroppedRow[] => {
    const drop = drops.get(row.row);
    if (drop === undefined) return [];
    counts[drop.reason]++;
    const { topic, title, question, answer } = row;
    return [{ row: row.row, topic, title, question, answer, ...drop }];
  });
  return {
    records,
    dropped: notKept.filter(({ reason }) => !isQuarantine(reason)),
    quarantined: notKept.filter(({ reason }) => isQuarantine(reason)),
    report: {
      mode: "strict",
      rawRows: rows.length,
      keptRows: records.length,
      dropped: counts,
      changed: log.changed,
      masked: log.masked,
      longRuns,
    },
    examples: log.examples,
  };
}
