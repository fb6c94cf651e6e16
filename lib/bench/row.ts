/** One row of the bench: what it is asked, and what it answers. */
import { z } from "zod";

/** A bound that a figure should keep. */
const Bar = z.strictObject({ at: z.enum(["most", "least"]), value: z.number() });
export type Bar = z.infer<typeof Bar>;

/** One measured number. */
export const Figure = z.strictObject({
  name: z.string(),
  value: z.number().nullable(),
  unit: z.string(),
  bar: Bar.nullable().default(null),
  /** How it was measured, where the name does not say. */
  note: z.string().default(""),
});
export type Figure = z.input<typeof Figure>;

/** What a row found. */
export const RowResult = z.strictObject({
  figures: z.array(Figure),
  /** Everything else worth keeping, as JSON. */
  details: z.record(z.string(), z.unknown()),
  /** Device bytes that the row's plan foresees, where it has one. */
  plannedBytes: z.number().nullable().default(null),
});
export type RowResult = z.input<typeof RowResult>;

/** What a row is asked, passed to its own process. */
export const RowJob = z.strictObject({
  row: z.string(),
  backend: z.enum(["auto", "cpu", "cuda"]),
  shape: z.enum(["8b", "small"]),
  /** Fewest repetitions that still give a number. */
  quick: z.boolean(),
  /** Time whole epochs instead of parts of them. */
  whole: z.boolean(),
  /** Python with torch, transformers and peft. */
  python: z.string(),
  /** Training samples a second that this run measured before, for comparison; null: none. */
  samplesPerSecond: z.number().nullable(),
  /** Where the result goes. */
  output: z.string(),
});
export type RowJob = z.infer<typeof RowJob>;

/** A line of a row's standard output while it runs. */
export const RowProgress = z.strictObject({ done: z.number(), total: z.number() });
export type RowProgress = z.infer<typeof RowProgress>;

/** Middle of the values. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}
