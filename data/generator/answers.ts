/**
 * Answers of known empathy: which rubric level each criterion has is drawn first, the sentences that
 * say so after.
 *
 * People rarely do everything at once. Most answers here do two or three things well, some only
 * touch on them, about one in seventeen is cold; the mean score is a little above 60 of 100.
 *
 * @module
 */
import { pick, type Random } from "@lib/random.ts";
import type { Situation, Topic } from "./schema.ts";

/** Rubric level: 0 absent, 1 weak, 2 strong. */
export type Level = 0 | 1 | 2;

/** The four criteria in the order in which answers take them up. */
export const CRITERIA = ["reaction", "interpretation", "exploration", "support"] as const;
export type Criterion = (typeof CRITERIA)[number];

/** A level for each criterion. */
export type Levels = Readonly<Record<Criterion, Level>>;

/** How common each kind of answer is; the rest is mixed. */
const COLD_SHARE = 0.06;
const WEAK_SHARE = 0.05;

/** Chance of level 0, 1, 2 per criterion in a mixed answer. */
const MIXED: Readonly<Record<Criterion, readonly [number, number, number]>> = {
  reaction: [0.14, 0.22, 0.64],
  interpretation: [0.26, 0.19, 0.55],
  exploration: [0.34, 0.12, 0.54],
  support: [0.26, 0.17, 0.57],
};

/** Score of a set of levels, 0..100: their sum of 8. */
export function score(levels: Levels): number {
  return CRITERIA.reduce((sum, criterion) => sum + levels[criterion], 0) / 8 * 100;
}

function drawLevel(random: Random, [none, weak]: readonly [number, number, number]): Level {
  const x = random();
  return x < none ? 0 : x < none + weak ? 1 : 2;
}

/** A weak answer touches on three or all four criteria and does none well. */
function drawWeak(random: Random): Levels {
  const skipped = random() < 0.5 ? pick(random, CRITERIA) : undefined;
  const level = (criterion: Criterion): Level => criterion === skipped ? 0 : 1;
  return {
    reaction: level("reaction"),
    interpretation: level("interpretation"),
    exploration: level("exploration"),
    support: level("support"),
  };
}

/** Draw the levels of one answer. */
export function drawLevels(random: Random): Levels {
  const kind = random();
  if (kind < COLD_SHARE) return { reaction: 0, interpretation: 0, exploration: 0, support: 0 };
  if (kind < COLD_SHARE + WEAK_SHARE) return drawWeak(random);
  for (;;) {
    const levels = {
      reaction: drawLevel(random, MIXED.reaction),
      interpretation: drawLevel(random, MIXED.interpretation),
      exploration: drawLevel(random, MIXED.exploration),
      support: drawLevel(random, MIXED.support),
    };
    const values = Object.values(levels);
    if (values.includes(2) && values.filter((level) => level > 0).length >= 2) return levels;
  }
}

/**
 * Compose an answer (slots unfilled) with the given levels. Reaction and interpretation come first;
 * support and exploration follow in either order; all zeros is a cold answer.
 */
export function composeAnswer(
  random: Random,
  topic: Topic,
  situation: Situation,
  levels: Levels,
): string {
  if (score(levels) === 0) return pick(random, situation.cold);
  const order: readonly Criterion[] = random() < 0.5
    ? CRITERIA
    : ["reaction", "interpretation", "support", "exploration"];
  return order.filter((criterion) => levels[criterion] > 0).map((criterion) =>
    pick(random, levels[criterion] === 2 ? situation[criterion] : topic.weak[criterion])
  ).join(" ");
}
