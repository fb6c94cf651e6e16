/**
 * The undamaged part of a corpus: openings spread evenly over all situations, follow-ups attached to
 * some, and nothing said twice.
 *
 * @module
 */
import { findDuplicates } from "@lib/corpus/dedupe.ts";
import { type Random, shuffled } from "@lib/random.ts";
import { matchKey } from "@lib/corpus/text_key.ts";
import { score } from "./answers.ts";
import {
  type ComposedRow,
  composeOpening,
  type Conversation,
  followUpsOf,
  type Place,
  rowKey,
} from "./compose.ts";
import type { Topic } from "./schema.ts";

/** Tries to find something new to say before a repetition is accepted. */
const TRIES = 40;
/** Rounds of looking for near-duplicates and composing them anew. */
const ROUNDS = 12;

/** What has been said, so that it is not said again. */
interface Said {
  /** Question and answer together. */
  readonly rows: Set<string>;
  /** Question alone, with the variant: a preference, not a rule. */
  readonly questions: Set<string>;
  /** Answers without a strong sentence: the situation in which each may be repeated. */
  readonly weakAnswers: Map<string, string>;
}

function isNew(row: ComposedRow, said: Said, strict: boolean): boolean {
  if (said.rows.has(rowKey(row))) return false;
  if (strict && said.questions.has(matchKey(row.question))) return false;
  const levels = row.levels;
  if (levels === undefined || Object.values(levels).includes(2) || score(levels) === 0) return true;
  const owner = said.weakAnswers.get(matchKey(row.answer));
  return owner === undefined || owner === `${row.english}/${row.situation}`;
}

function remember(row: ComposedRow, said: Said): void {
  said.rows.add(rowKey(row));
  said.questions.add(matchKey(row.question));
  if (row.levels !== undefined && !Object.values(row.levels).includes(2)) {
    said.weakAnswers.set(matchKey(row.answer), `${row.english}/${row.situation}`);
  }
}

/** An opening that has not been said; with a new question too where there is one. */
function newOpening(random: Random, place: Place, said: Said): ComposedRow {
  let row = composeOpening(random, place);
  for (let k = 1; k < TRIES && !isNew(row, said, k < TRIES / 2); k++) {
    row = composeOpening(random, place);
  }
  remember(row, said);
  return row;
}

/**
 * Attach a new follow-up row to openings, in random order, until there are enough. One each: a
 * situation's follow-ups are alternatives, and two of them need not follow each other.
 */
function attachFollowUps(
  random: Random,
  conversations: Conversation[],
  placeOf: ReadonlyMap<string, Place>,
  wanted: number,
  said: Said,
): void {
  let count = 0;
  for (const i of shuffled(random, [...conversations.keys()])) {
    if (count >= wanted) break;
    const [opening] = conversations[i]!;
    const place = placeOf.get(`${opening.english}/${opening.situation}`);
    if (place === undefined) continue;
    const row = followUpsOf(random, place, opening).find((r) => !said.rows.has(rowKey(r)));
    if (row === undefined) continue;
    remember(row, said);
    conversations[i] = [opening, row];
    count++;
  }
}

/** Replace rows that nearly repeat another: openings by new ones; follow-ups are left out. */
function withoutRepetitions(
  random: Random,
  conversations: readonly Conversation[],
  placeOf: ReadonlyMap<string, Place>,
  said: Said,
): { conversations: Conversation[]; changed: number } {
  const rows = conversations.flat();
  const repeated = new Set(
    findDuplicates(rows.map((row) => `${row.question}\n${row.answer}`)).map(({ index }) =>
      rows[index]!
    ),
  );
  const result = conversations.map(([opening, ...rest]): Conversation => {
    const place = placeOf.get(`${opening.english}/${opening.situation}`);
    const first = repeated.has(opening) && place !== undefined
      ? newOpening(random, place, said)
      : opening;
    const sameVariant = first === opening || first.variant === opening.variant;
    return [first, ...rest.filter((row) => sameVariant && !repeated.has(row))];
  });
  return { conversations: result, changed: repeated.size };
}

/**
 * Compose `rows` undamaged rows as conversations, `followUps` of them follow-ups where the topics
 * have as many different ones.
 */
export function composeConversations(
  random: Random,
  topics: readonly Topic[],
  rows: number,
  followUps: number,
): Conversation[] {
  const places = topics.flatMap((topic) =>
    topic.situations.map((situation): Place => ({ topic, situation }))
  );
  const placeOf = new Map(
    places.map((place) => [`${place.topic.english}/${place.situation.id}`, place]),
  );
  const said: Said = { rows: new Set(), questions: new Set(), weakAnswers: new Map() };
  let queue: Place[] = [];
  const nextPlace = (): Place => {
    if (queue.length === 0) queue = shuffled(random, places);
    return queue.pop()!;
  };
  const open = (count: number): Conversation[] =>
    Array.from({ length: count }, () => [newOpening(random, nextPlace(), said)]);
  let conversations = open(rows - followUps);
  attachFollowUps(random, conversations, placeOf, followUps, said);
  for (let round = 0; round < ROUNDS; round++) {
    conversations.push(...open(rows - conversations.flat().length));
    const checked = withoutRepetitions(random, conversations, placeOf, said);
    conversations = checked.conversations;
    if (checked.changed === 0) break;
  }
  return [...conversations, ...open(rows - conversations.flat().length)];
}
