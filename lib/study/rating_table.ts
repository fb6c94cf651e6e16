/** Ratings of a study as the analysis takes them: answers down, raters across. */
import { EMPATHY_CRITERIA, type EmpathyCriterion, rubricScore } from "@lib/evaluation/rubric.ts";
import { STUDY_SYSTEMS, StudyError, type StudySystem } from "./items.ts";
import { latestRatings, type StudyRating } from "./ratings.ts";

/** What is measured: the criteria, and their sum in percent. */
export const STUDY_MEASURES = [...EMPATHY_CRITERIA, "score"] as const;
export type StudyMeasure = (typeof STUDY_MEASURES)[number];

/** One answer with everything that was said of it. */
export interface RatedUnit {
  readonly row: number;
  readonly group: number;
  readonly system: StudySystem;
  /** One a rater; null where a rater has not rated it. */
  readonly levels: readonly (StudyRating["answers"][number]["levels"] | null)[];
  /** Where it stood, 0 first; null likewise. */
  readonly places: readonly (number | null)[];
}

/** A study's ratings. */
export interface RatingTable {
  /** In order of name. */
  readonly raters: readonly string[];
  /** Ordered by row, then by system. */
  readonly units: readonly RatedUnit[];
}

/**
 * Lays the ratings out; of several ratings by one rater the last counts.
 *
 * @throws {StudyError} no ratings, or ratings of several studies
 */
export function ratingTable(ratings: readonly StudyRating[]): RatingTable {
  const studies = new Set(ratings.map(({ study }) => study));
  if (studies.size !== 1) {
    throw new StudyError(
      `Expected the ratings of one study, found those of ${studies.size}: ` +
        "the answers were generated anew between them. Keep one study's, or none.",
    );
  }
  const latest = latestRatings(ratings);
  const raters = [...new Set(latest.map(({ rater }) => rater))].sort();
  const byRow = [...Map.groupBy(latest, ({ row }) => row)].sort(([a], [b]) => a - b);
  const units = byRow.flatMap(([row, given]) =>
    STUDY_SYSTEMS.map((system): RatedUnit => {
      const byRater = raters.map((rater) =>
        given.find((one) => one.rater === rater)?.answers ?? []
      );
      const places = byRater.map((answers) =>
        answers.findIndex((answer) => answer.system === system)
      );
      return {
        ...{ row, system, group: given[0]?.group ?? row },
        levels: byRater.map((answers, i) => answers[places[i] ?? -1]?.levels ?? null),
        places: places.map((place) => place < 0 ? null : place),
      };
    })
  );
  return { raters, units };
}

/** One rater's value of a measure; null where there is none. */
export function valueOf(levels: RatedUnit["levels"][number], measure: StudyMeasure): number | null {
  if (levels === null) return null;
  return measure === "score" ? rubricScore(levels) : levels[measure];
}

/** The levels of a criterion, one a rater. */
export function criterionLevels(unit: RatedUnit, criterion: EmpathyCriterion): (number | null)[] {
  return unit.levels.map((levels) => levels?.[criterion] ?? null);
}

/** The mean over the raters of one answer; null when nobody has rated it. */
export function unitMean(unit: RatedUnit, measure: StudyMeasure): number | null {
  const values = unit.levels.map((levels) => valueOf(levels, measure))
    .filter((value) => value !== null);
  return values.length === 0 ? null : values.reduce((sum, one) => sum + one, 0) / values.length;
}
