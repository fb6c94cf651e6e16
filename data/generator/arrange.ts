/**
 * The order of conversations in the file: shuffled, but no two neighbours under one topic, so that a
 * run of same-topic rows is one conversation; and copies after what they copy.
 *
 * @module
 */
import { type Random, randomInt, shuffled } from "@lib/random.ts";
import type { ComposedRow, Conversation } from "./compose.ts";

const TRIES = 200;

function swap(list: Conversation[], i: number, j: number): void {
  [list[i], list[j]] = [list[j]!, list[i]!];
}

/** Whether a conversation has the topic of its neighbour on either side. */
function clashes(list: readonly Conversation[], i: number): boolean {
  const topic = list[i]?.[0].topic;
  return topic !== undefined &&
    (list[i - 1]?.[0].topic === topic || list[i + 1]?.[0].topic === topic);
}

/** Swap clashing conversations with random others where that removes the clash. */
function separate(random: Random, list: Conversation[]): void {
  for (let i = 0; i < list.length; i++) {
    for (let k = 0; k < TRIES && clashes(list, i); k++) {
      const j = randomInt(random, list.length);
      swap(list, i, j);
      if (clashes(list, j) || clashes(list, i)) swap(list, i, j);
    }
  }
}

/** Swap copies that come before their source with it (both are single rows of one topic). */
function copiesLast(list: Conversation[]): void {
  const position = new Map<ComposedRow, number>();
  list.forEach(([row], i) => position.set(row, i));
  list.forEach(([row], i) => {
    const source = row.copyOf === undefined ? undefined : position.get(row.copyOf);
    if (source !== undefined && source > i) swap(list, i, source);
  });
}

/** Arrange conversations in file order. */
export function arrange(random: Random, conversations: readonly Conversation[]): Conversation[] {
  const list = shuffled(random, conversations);
  separate(random, list);
  copiesLast(list);
  return list;
}
