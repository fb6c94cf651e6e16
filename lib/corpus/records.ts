/**
 * The records that the corpus notebooks write and the later ones read.
 *
 * @module
 */
import { z } from "zod";
import { DROP_REASON_CODES, type DropReason } from "./reasons.ts";

/** One cleaned question and answer. */
export const CleanRecord = z.strictObject({
  /** Data row in the CSV, from 1. */
  row: z.int().positive(),
  /** Run of contiguous same-topic rows (one dialogue) in the CSV, from 1. */
  run: z.int().positive(),
  topic: z.string(),
  title: z.string(),
  /** Empty only in legacy mode, whose user turn is topic and title then. */
  question: z.string(),
  answer: z.string().min(1),
}).readonly();
export type CleanRecord = z.infer<typeof CleanRecord>;

/** A cleaned record with its group: rows that must stay on one side of the split. */
export const SplitRecord = z.strictObject({
  ...CleanRecord.unwrap().shape,
  /** Group number, from 1: the smallest row in it. */
  group: z.int().positive(),
}).readonly();
export type SplitRecord = z.infer<typeof SplitRecord>;

/** A row that is not in the cleaned corpus, its texts as they stand in the CSV. */
export const DroppedRow = z.strictObject({
  row: z.int().positive(),
  reason: z.enum(DROP_REASON_CODES as readonly [DropReason, ...DropReason[]]),
  topic: z.string(),
  title: z.string(),
  question: z.string(),
  answer: z.string(),
  /** The earlier row that a duplicate repeats. */
  duplicateOf: z.int().positive().optional(),
  /** Jaccard similarity to that row. */
  similarity: z.number().optional(),
  /** The words for which a row is in quarantine, as matched. */
  evidence: z.string().optional(),
}).readonly();
export type DroppedRow = z.infer<typeof DroppedRow>;

/** The code under which legacy cleaning leaves out a row: one of its turns is too short. */
export const LEGACY_DROP_REASON = "legacy_short_turn";

/** A line of `dropped.jsonl`, whichever rules wrote it. */
export const SavedDroppedRow = z.strictObject({
  ...DroppedRow.unwrap().shape,
  reason: z.enum([...DROP_REASON_CODES, LEGACY_DROP_REASON]),
}).readonly();
export type SavedDroppedRow = z.infer<typeof SavedDroppedRow>;
