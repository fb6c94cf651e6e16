/** What raters see: held-out questions with the answers of base, tuned and reference. */
import { seededRandom, shuffled } from "@lib/random.ts";
import type { TestResults } from "@lib/workflow/generate.ts";

/** Whose answers are rated; the reference is the corpus's own. */
export const STUDY_SYSTEMS = ["base", "tuned", "reference"] as const;
export type StudySystem = (typeof STUDY_SYSTEMS)[number];

/** One question with an answer of each system. */
export interface StudyItem {
  /** Row of the corpus. */
  readonly row: number;
  /** Rows of one dialogue or near-copies share a group: they are not independent. */
  readonly group: number;
  readonly question: string;
  readonly answers: Readonly<Record<StudySystem, string>>;
}

/** Answers that cannot be put before raters. */
export class StudyError extends Error {
  override readonly name = "StudyError";
}

/**
 * Chooses the questions of a study: at most one of a group, at random, the same for the same seed.
 *
 * @param count questions wanted; fewer when the run has fewer groups. A larger number adds questions
 * behind those of a smaller one.
 * @throws {StudyError} no question that both systems answered
 */
export function studyItems(results: TestResults, count: number, seed: number): StudyItem[] {
  const byRow = Map.groupBy(results.answers, (answer) => answer.row);
  const complete = [...byRow.values()].flatMap((answers): StudyItem[] => {
    const base = answers.find((answer) => answer.system === "base");
    const tuned = answers.find((answer) => answer.system === "tuned");
    if (base === undefined || tuned === undefined) return [];
    const { row, group, question, reference } = base;
    return [{
      row,
      group,
      question,
      answers: { base: base.answer, tuned: tuned.answer, reference },
    }];
  });
  if (complete.length === 0) {
    throw new StudyError(
      `Run '${results.run}': expected questions that base and tuned both answered, found none. ` +
        "Run 04_generate (deno task generate) again.",
    );
  }
  const groups = new Set<number>();
  const alone = shuffled(seededRandom(seed), complete).filter(({ group }) => {
    const fresh = !groups.has(group);
    groups.add(group);
    return fresh;
  });
  return alone.slice(0, count);
}

/**
 * A name for a study that changes whenever a question or an answer does: ratings of other answers must
 * not be taken for ratings of these. How many of the questions are put before raters does not matter.
 *
 * @param items all questions of the run, as `studyItems` gives them
 * @returns 16 hexadecimal digits
 */
export async function studyId(items: readonly StudyItem[], seed: number): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify([seed, items]));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex().slice(0, 16);
}
