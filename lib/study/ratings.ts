/** Ratings of a human study, as they are kept and read. */
import { z } from "zod";
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { Consent, Levels } from "@lib/server/ratings.ts";
import { type LoadedRecords, loadJsonl } from "@lib/jsonl_file.ts";
import { STUDY_SYSTEMS } from "./items.ts";

/** One rater's levels for the answers to one question. */
export const StudyRating = z.strictObject({
  format: z.literal(1),
  time: z.iso.datetime(),
  /** See `studyId`. */
  study: z.string(),
  run: z.string(),
  rater: z.string().min(1),
  consent: Consent,
  row: z.number().int(),
  group: z.number().int(),
  /** In the order in which they stood. */
  answers: z.array(z.strictObject({ system: z.enum(STUDY_SYSTEMS), levels: Levels }))
    .length(STUDY_SYSTEMS.length),
});
export type StudyRating = z.infer<typeof StudyRating>;

/** Criteria of one rating, as numbers in the rubric's order. */
export function levelsOf(levels: z.infer<typeof Levels>): number[] {
  return EMPATHY_CRITERIA.map((criterion) => levels[criterion]);
}

/** Reads a study's ratings; torn lines are counted and left out. */
export function loadStudyRatings(path: string): Promise<LoadedRecords<StudyRating>> {
  return loadJsonl(path, StudyRating);
}

/** The ratings that count: of each rater and question the last. */
export function latestRatings(ratings: readonly StudyRating[]): StudyRating[] {
  const latest = new Map(ratings.map((one) => [`${one.study}\n${one.rater}\n${one.row}`, one]));
  return [...latest.values()];
}
