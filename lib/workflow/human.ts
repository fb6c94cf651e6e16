/** Step 6, notebook 06_human: the ratings that people gave the run's answers. */
import type { Config } from "@lib/config.ts";
import type { Run } from "@lib/experiment/run.ts";
import { saveJson } from "@lib/files.ts";
import type { StudyAnalysis } from "@lib/study/analysis.ts";
import { studyId, type StudyItem, studyItems } from "@lib/study/items.ts";
import { loadStudyRatings, type StudyRating } from "@lib/study/ratings.ts";
import { syntheticRatings } from "@lib/study/synthetic.ts";
import { loadTestResults } from "@lib/workflow/generate.ts";

/** A study as the notebook takes it. */
export interface LoadedStudy {
  readonly items: readonly StudyItem[];
  readonly ratings: readonly StudyRating[];
  /** Nobody has rated yet: the ratings are made up and say nothing about any model. */
  readonly synthetic: boolean;
  /** Ratings left out: of answers that have been generated anew since, or torn lines. */
  readonly leftOut: number;
}

/** Raters made up where there are none. */
const MADE_UP = { raters: ["made-up 1", "made-up 2", "made-up 3"], attention: 0.9 } as const;

/** Questions that made-up raters rate. */
const MADE_UP_QUESTIONS = 30;

/**
 * Loads the ratings of the run's present answers; without any, makes some up.
 *
 * @throws {RunError} when 04_generate has not run
 */
export async function loadStudy(run: Run, config: Config): Promise<LoadedStudy> {
  const { seed } = config;
  const items = studyItems(await loadTestResults(run), Infinity, seed);
  const id = await studyId(items, seed);
  const { records, unreadable } = await loadStudyRatings(run.studyRatings);
  const ratings = records.filter(({ study }) => study === id);
  const leftOut = records.length - ratings.length + unreadable.length;
  if (ratings.length > 0) return { items, ratings, synthetic: false, leftOut };
  const asked = items.slice(0, MADE_UP_QUESTIONS);
  return {
    items,
    ratings: syntheticRatings(asked, { ...MADE_UP, seed }),
    synthetic: true,
    leftOut,
  };
}

/** Writes what the study says, marked when its ratings are made up. */
export async function saveHumanResults(
  run: Run,
  analysis: StudyAnalysis,
  synthetic: boolean,
): Promise<void> {
  await saveJson(run.humanResults, { format: 1, run: run.name, synthetic, ...analysis });
}
