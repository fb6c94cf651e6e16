/** A study while it runs: hands out questions, takes ratings, remembers who has rated what. */
import { z } from "zod";
import { Consent, Levels } from "@lib/server/ratings.ts";
import { JsonlFile } from "@lib/jsonl_file.ts";
import { StudyError, type StudyItem } from "./items.ts";
import { raterSteps, type StudyStep } from "./order.ts";
import { loadStudyRatings, type StudyRating } from "./ratings.ts";

/** What a rater gets to see: nothing in it says whose answer is whose. */
export interface StudyView {
  readonly study: string;
  readonly done: number;
  readonly total: number;
  /** null when everything is rated. */
  readonly item: {
    readonly row: number;
    readonly question: string;
    /** In the order in which they are shown. */
    readonly answers: readonly string[];
  } | null;
}

/** What a rater sends. */
export const StudySubmission = z.strictObject({
  study: z.string(),
  rater: z.string(),
  consent: Consent,
  row: z.number().int(),
  /** In the order in which the answers were shown. */
  levels: z.array(Levels).length(3),
});
export type StudySubmission = z.infer<typeof StudySubmission>;

/** How a study is opened. */
export interface StudyDeskOptions {
  /** See `studyId`. */
  readonly id: string;
  readonly run: string;
  readonly items: readonly StudyItem[];
  readonly seed: number;
  /** Append-only file of ratings. */
  readonly path: string;
}

/** Names or codes that raters may give themselves. */
const RATER = /^[\p{L}\p{M}\p{N}][\p{L}\p{M}\p{N} ._-]{0,39}$/u;

/**
 * A rater's name in one spelling.
 *
 * @throws {StudyError} a name that is none
 */
export function raterName(text: string): string {
  const name = text.normalize("NFC").trim().replace(/\s+/gu, " ");
  if (RATER.test(name)) return name;
  throw new StudyError(
    `rater: expected a name or code of 1 to 40 letters and digits, found '${name.slice(0, 60)}'.`,
  );
}

/** Hands out questions and takes ratings. */
export class StudyDesk {
  readonly #file: JsonlFile<StudyRating>;
  /** Rows that each rater has rated. */
  readonly #done = new Map<string, Set<number>>();

  private constructor(readonly options: StudyDeskOptions) {
    this.#file = new JsonlFile(options.path);
  }

  /** Opens a study; ratings given before, of the same answers, count. */
  static async open(options: StudyDeskOptions): Promise<StudyDesk> {
    const desk = new StudyDesk(options);
    const { records } = await loadStudyRatings(options.path);
    for (const { study, rater, row } of records) if (study === options.id) desk.#mark(rater, row);
    return desk;
  }

  #mark(rater: string, row: number): void {
    const rows = this.#done.get(rater) ?? new Set();
    this.#done.set(rater, rows.add(row));
  }

  #steps(rater: string): StudyStep[] {
    return raterSteps(this.options.items.length, rater, this.options.seed);
  }

  /** The next question that a rater has not rated. @throws {StudyError} no name */
  next(name: string): StudyView {
    const rater = raterName(name);
    const done = this.#done.get(rater) ?? new Set();
    const { items, id } = this.options;
    const view = { study: id, done: done.size, total: items.length };
    for (const { item, systems } of this.#steps(rater)) {
      const shown = items[item];
      if (shown === undefined || done.has(shown.row)) continue;
      const answers = systems.map((system) => shown.answers[system]);
      return { ...view, item: { row: shown.row, question: shown.question, answers } };
    }
    return { ...view, item: null };
  }

  /**
   * Keeps a rating. A question may be rated again: the last rating counts.
   *
   * @returns the next question
   * @throws {StudyError} another study, or a question that is not in it
   */
  async rate(submission: StudySubmission): Promise<StudyView> {
    const rater = raterName(submission.rater);
    const { items, run, id } = this.options;
    const step = this.#steps(rater).find(({ item }) => items[item]?.row === submission.row);
    const item = step === undefined ? undefined : items[step.item];
    if (submission.study !== id || step === undefined || item === undefined) {
      throw new StudyError(
        `study: expected '${id}' and one of its ${items.length} questions, found ` +
          `'${submission.study.slice(0, 60)}' and row ${submission.row}. Reload the page.`,
      );
    }
    await this.#file.append({
      format: 1,
      time: new Date().toISOString(),
      study: id,
      ...{ run, rater, consent: submission.consent, row: item.row, group: item.group },
      answers: step.systems.map((system, place) => ({
        system,
        levels: Levels.parse(submission.levels[place]),
      })),
    });
    this.#mark(rater, item.row);
    return this.next(rater);
  }
}
