/** Who sees what when: an order of its own for every rater, repeatable and balanced. */
import { seededRandom, shuffled } from "@lib/random.ts";
import { STUDY_SYSTEMS, type StudySystem } from "./items.ts";

/** The six ways in which three answers can stand one after another. */
const ARRANGEMENTS: readonly (readonly StudySystem[])[] = STUDY_SYSTEMS.flatMap((first) =>
  STUDY_SYSTEMS.filter((second) => second !== first).map((second) => [
    first,
    second,
    ...STUDY_SYSTEMS.filter((third) => third !== first && third !== second),
  ])
);

/** One step of a rater: which question, and whose answer stands where. */
export interface StudyStep {
  /** Place of the question in the study's list. */
  readonly item: number;
  readonly systems: readonly StudySystem[];
}

/** 32-bit FNV-1a: spreads similar names far apart. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    value = Math.imul(value ^ byte, 0x01000193);
  }
  return value >>> 0;
}

/**
 * The steps of one rater: all questions in random order; in every six of them each arrangement of the
 * three answers occurs once, so that no system stands first more often than another.
 *
 * @param count questions in the study
 * @example
 * ```ts
 * import { raterSteps } from "@lib/study/order.ts";
 * import { assertEquals } from "@std/assert";
 * const steps = raterSteps(12, "মিতা", 1);
 * assertEquals(steps, raterSteps(12, "মিতা", 1));
 * assertEquals(steps.filter(({ systems }) => systems[0] === "tuned").length, 4);
 * ```
 */
export function raterSteps(count: number, rater: string, seed: number): StudyStep[] {
  const random = seededRandom(hash(`${seed} ${rater}`));
  const items = shuffled(random, Array.from({ length: count }, (_, i) => i));
  let block: readonly (readonly StudySystem[])[] = [];
  return items.map((item, i) => {
    if (i % ARRANGEMENTS.length === 0) block = shuffled(random, ARRANGEMENTS);
    return { item, systems: block[i % ARRANGEMENTS.length] ?? STUDY_SYSTEMS };
  });
}
