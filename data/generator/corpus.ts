/**
 * A whole generated corpus: rows in file order, what is known of each, and a manifest of counts.
 *
 * @module
 */
import { CSV_COLUMNS } from "@lib/corpus/header.ts";
import type { DropReason } from "@lib/corpus/reasons.ts";
import { seededRandom } from "@lib/random.ts";
// @ts-types="../../lib/corpus/std_csv.d.ts"
import { stringify } from "@std/csv";
import { CRITERIA, type Criterion, score } from "./answers.ts";
import { arrange } from "./arrange.ts";
import type { ComposedRow, RowKind } from "./compose.ts";
import { addedRows, plantDefects } from "./defects.ts";
import { composeConversations } from "./openings.ts";
import { type Defect, type Plan, planCorpus } from "./plan.ts";
import type { Sources } from "./topics.ts";

/** What is known of a row; not part of the CSV. */
export interface RowFacts {
  /** Data row in the CSV, from 1. */
  readonly row: number;
  readonly topic: string;
  readonly situation: string | null;
  readonly variant: number | null;
  readonly kind: RowKind;
  /** Rubric levels (0, 1, 2) of the answer as composed; null where the answer is not rated. */
  readonly levels: Readonly<Record<"ER" | "IP" | "EX" | "SU", number>> | null;
  readonly defect: string | null;
  /** Row that an exact or near-duplicate copies. */
  readonly duplicateOf: number | null;
}

/** All counts of a generated corpus. */
export interface Manifest {
  readonly rows: number;
  readonly seed: number;
  readonly topics: number;
  readonly situations: number;
  readonly kinds: Readonly<Record<RowKind, number>>;
  /** Rows by planned defect. */
  readonly defects: Readonly<Record<Defect, number>>;
  /** Rows that strict cleaning drops, by its reason codes; codes that do not occur are left out. */
  readonly expectedDropped: Readonly<Partial<Record<DropReason, number>>>;
  /** Counts that legacy cleaning gives. */
  readonly expectedLegacy: Readonly<Record<"rawTurns" | "keptTurns" | "keptRows", number>>;
  /** Rated answers by level, per criterion. */
  readonly levels: Readonly<Record<Criterion, readonly [number, number, number]>>;
  /** Mean rubric score of the rated answers, 0..100, and the share that is cold. */
  readonly meanScore: number;
  readonly coldShare: number;
}

/** A generated corpus. */
export interface GeneratedCorpus {
  readonly rows: readonly ComposedRow[];
  readonly facts: readonly RowFacts[];
  readonly manifest: Manifest;
}

function factsOf(rows: readonly ComposedRow[]): RowFacts[] {
  const numberOf = new Map(rows.map((row, i) => [row, i + 1]));
  return rows.map((row, i) => ({
    row: i + 1,
    topic: row.english,
    situation: row.situation ?? null,
    variant: row.variant ?? null,
    kind: row.kind,
    levels: row.levels === undefined ? null : {
      ER: row.levels.reaction,
      IP: row.levels.interpretation,
      EX: row.levels.exploration,
      SU: row.levels.support,
    },
    defect: row.defect ?? null,
    duplicateOf: row.copyOf === undefined ? null : numberOf.get(row.copyOf) ?? null,
  }));
}

/** What strict cleaning should drop, from the planned defects. */
function expectedDropped(defects: Plan["defects"]): Partial<Record<DropReason, number>> {
  const { missing_answer, tiny_answer, one_word_answer } = defects;
  return {
    replacement_character: defects.replacement_character,
    missing_question: defects.missing_question,
    missing_answer,
    one_word_question: defects.one_word_question,
    one_word_answer: one_word_answer + tiny_answer,
    not_bengali: defects.not_bengali,
    question_equals_answer: defects.question_equals_answer,
    repeated_token: defects.repeated_token,
    exact_duplicate: defects.exact_duplicate,
    near_duplicate: defects.near_duplicate,
    quarantine_self_harm: defects.quarantine_self_harm,
    quarantine_advice: defects.quarantine_advice,
  };
}

function manifestOf(
  rows: readonly ComposedRow[],
  plan: Plan,
  seed: number,
  sources: Sources,
): Manifest {
  const rated = rows.flatMap((row) => row.levels === undefined ? [] : [row.levels]);
  const countLevels = (criterion: Criterion): readonly [number, number, number] => {
    const counts: [number, number, number] = [0, 0, 0];
    for (const levels of rated) counts[levels[criterion]]++;
    return counts;
  };
  const kinds = { opening: 0, follow_up: 0, quarantine: 0 };
  for (const row of rows) kinds[row.kind]++;
  const scores = rated.map(score);
  const short = plan.defects.missing_answer + plan.defects.tiny_answer;
  const rounded = (x: number): number => Math.round(x * 1e4) / 1e4;
  return {
    rows: rows.length,
    seed,
    topics: sources.topics.length,
    situations: sources.topics.reduce((sum, topic) => sum + topic.situations.length, 0),
    kinds,
    defects: plan.defects,
    expectedDropped: expectedDropped(plan.defects),
    expectedLegacy: {
      rawTurns: 2 * rows.length,
      keptTurns: 2 * rows.length - short,
      keptRows: rows.length - short,
    },
    levels: Object.fromEntries(
      CRITERIA.map((criterion) => [criterion, countLevels(criterion)]),
    ) as Manifest["levels"],
    meanScore: rounded(scores.reduce((sum, x) => sum + x, 0) / scores.length),
    coldShare: rounded(scores.filter((x) => x === 0).length / scores.length),
  };
}

/**
 * Generate a corpus. The same sources, row count and seed give the same corpus.
 *
 * @throws {RangeError} when fewer rows are asked for than the planned defects need.
 */
export function generateCorpus(sources: Sources, rowCount: number, seed: number): GeneratedCorpus {
  if (!Number.isSafeInteger(rowCount) || rowCount < 200) {
    throw new RangeError(`Cannot generate: expected at least 200 rows, found ${rowCount}.`);
  }
  const plan = planCorpus(rowCount, {
    selfHarm: sources.quarantine.self_harm.length,
    advice: sources.quarantine.advice.length,
  });
  const random = seededRandom(seed);
  const clean = composeConversations(
    random,
    sources.topics,
    rowCount - addedRows(plan),
    plan.followUps,
  );
  const rows = arrange(random, plantDefects(random, clean, sources, plan)).flat();
  return { rows, facts: factsOf(rows), manifest: manifestOf(rows, plan, seed, sources) };
}

/** The corpus as CSV in the real file's form: byte order mark, CRLF line ends. */
export function toCsv(rows: readonly ComposedRow[]): string {
  const table = rows.map(({ topic, title, question, answer }) => [topic, title, question, answer]);
  return stringify([[...CSV_COLUMNS], ...table], { headers: false, bom: true, crlf: true });
}
