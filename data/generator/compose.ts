/**
 * Conversations: an opening row and sometimes follow-up rows, composed from one situation and one of
 * its variants so that names and relations agree throughout.
 *
 * @module
 */
import { matchKey } from "@lib/corpus/text_key.ts";
import { pick, type Random, randomInt, shuffled } from "@lib/random.ts";
import { composeAnswer, drawLevels, type Levels } from "./answers.ts";
import type { Situation, Topic } from "./schema.ts";

/** Where a row's texts come from. */
export type RowKind = "opening" | "follow_up" | "quarantine";

/** A composed row before it has its place in the file. */
export interface ComposedRow {
  readonly topic: string;
  readonly title: string;
  readonly question: string;
  readonly answer: string;
  readonly kind: RowKind;
  /** English name of the topic and id of the situation; no situation for quarantine rows. */
  readonly english: string;
  readonly situation?: string;
  readonly variant?: number;
  /** Rubric levels of an opening's answer; other rows are not rated. */
  readonly levels?: Levels;
  /** The planned defect, and for a copy what it copies. */
  readonly defect?: string;
  readonly copyOf?: ComposedRow;
}

/** Rows that stand next to each other. */
export type Conversation = readonly [ComposedRow, ...ComposedRow[]];

/** A situation with its topic. */
export interface Place {
  readonly topic: Topic;
  readonly situation: Situation;
}

function fill(text: string, variant: Readonly<Record<string, string>>): string {
  return text.replace(/\{([^{}]*)\}/g, (_, slot: string) => variant[slot] ?? `{${slot}}`);
}

/** How many details follow the opening sentence: none, one or two. */
function drawDetails(random: Random, details: readonly string[]): string[] {
  const x = random();
  return shuffled(random, details).slice(0, x < 0.35 ? 0 : x < 0.88 ? 1 : 2);
}

/** One opening row of a situation. */
export function composeOpening(random: Random, { topic, situation }: Place): ComposedRow {
  const index = randomInt(random, situation.variants.length);
  const variant = situation.variants[index]!;
  const levels = drawLevels(random);
  const question = [
    pick(random, situation.questions),
    ...drawDetails(random, situation.details),
  ].join(" ");
  const answer = composeAnswer(random, topic, situation, levels);
  return {
    topic: topic.label,
    title: fill(pick(random, situation.titles), variant),
    question: fill(question, variant),
    answer: fill(answer, variant),
    kind: "opening",
    english: topic.english,
    situation: situation.id,
    variant: index,
    levels,
  };
}

/** Key by which two rows say the same. */
export function rowKey(row: ComposedRow): string {
  return matchKey(`${row.question}\n${row.answer}`);
}

/**
 * All follow-up rows that can continue an opening, in random order. Each answer replies to the
 * question at its own place in the list.
 */
export function followUpsOf(
  random: Random,
  { situation }: Place,
  opening: ComposedRow,
): ComposedRow[] {
  const variant = situation.variants[opening.variant ?? 0] ?? {};
  const { questions, answers } = situation.followUp;
  const rows = questions.slice(0, answers.length).map((question, i): ComposedRow => ({
    topic: opening.topic,
    title: opening.title,
    question: fill(question, variant),
    answer: fill(answers[i]!, variant),
    kind: "follow_up",
    english: opening.english,
    situation: situation.id,
    ...(opening.variant === undefined ? {} : { variant: opening.variant }),
  }));
  return shuffled(random, rows);
}
