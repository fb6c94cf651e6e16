/**
 * Raters made up at random, whose agreement is known: to test the analysis, and to try it out before
 * anybody has rated. They say nothing about any model.
 *
 * Each answer has a true level. A rater sees it with probability q, and otherwise guesses from the
 * same overall distribution, whatever the answer. Two ratings of one answer then coincide with
 * probability q² and are otherwise independent, so that disagreement is (1 − q²) times what chance
 * gives: Krippendorff's α and the weighted κ of any two raters are q², on any scale. Differences
 * between systems shrink by q, since a guess knows nothing of the system.
 *
 * @module
 */
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { type Random, seededRandom } from "@lib/random.ts";
import { STUDY_SYSTEMS, type StudyItem, type StudySystem } from "./items.ts";
import { raterSteps } from "./order.ts";
import type { StudyRating } from "./ratings.ts";

/** How often each level is the true one. */
export type LevelShares = readonly [none: number, weak: number, strong: number];

/** What the made-up study is like. */
export interface SyntheticOptions {
  /** Names of the raters. */
  readonly raters: readonly string[];
  /** q: how often a rater sees the true level. α is its square. */
  readonly attention: number;
  readonly seed: number;
  /** True levels by system. @default the reference better than tuned, tuned better than base */
  readonly shares?: Readonly<Record<StudySystem, LevelShares>>;
  /** Share of the questions that a rater gets to. @default {1} */
  readonly coverage?: number;
}

const SHARES: Readonly<Record<StudySystem, LevelShares>> = {
  base: [0.6, 0.3, 0.1],
  tuned: [0.3, 0.4, 0.3],
  reference: [0.15, 0.35, 0.5],
};

/** The mean level of a system's answers before anybody misjudges them. */
export function trueMean(shares: LevelShares): number {
  return shares[1] + 2 * shares[2];
}

function drawLevel(random: Random, [none, weak]: LevelShares): 0 | 1 | 2 {
  const value = random();
  if (value < none) return 0;
  return value < none + weak ? 1 : 2;
}

type Levels = StudyRating["answers"][number]["levels"];

function drawLevels(draw: () => 0 | 1 | 2): Levels {
  return { reaction: draw(), interpretation: draw(), exploration: draw(), support: draw() };
}

/** Ratings of made-up raters. */
export function syntheticRatings(
  items: readonly Pick<StudyItem, "row" | "group">[],
  options: SyntheticOptions,
): StudyRating[] {
  const { raters, attention, seed, shares = SHARES, coverage = 1 } = options;
  const random = seededRandom(seed);
  const pooled = [0, 1, 2].map((level) =>
    STUDY_SYSTEMS.reduce((sum, system) => sum + (shares[system][level] ?? 0), 0) / 3
  ) as unknown as LevelShares;
  const truths = items.map(() => ({
    base: drawLevels(() => drawLevel(random, shares.base)),
    tuned: drawLevels(() => drawLevel(random, shares.tuned)),
    reference: drawLevels(() => drawLevel(random, shares.reference)),
  }));
  const seen = (truth: Levels): Levels => {
    const levels: Record<string, 0 | 1 | 2> = {};
    for (const criterion of EMPATHY_CRITERIA) {
      const guess = drawLevel(random, pooled);
      levels[criterion] = random() < attention ? truth[criterion] : guess;
    }
    return levels as Levels;
  };
  return raters.flatMap((rater) =>
    raterSteps(items.length, rater, seed).slice(0, Math.round(coverage * items.length))
      .flatMap(({ item, systems }): StudyRating[] => {
        const { row, group } = items[item] ?? {};
        const truth = truths[item];
        if (row === undefined || group === undefined || truth === undefined) return [];
        return [{
          ...{ format: 1, time: "2000-01-01T00:00:00.000Z", study: "synthetic", run: "synthetic" },
          ...{ rater, row, group },
          consent: { version: 1, agreed_at: "2000-01-01T00:00:00.000Z", language: "bn" },
          answers: systems.map((system) => ({ system, levels: seen(truth[system]) })),
        }];
      })
  );
}
