/**
 * Planting the planned defects: each in its number, at most one a row, only in rows that stand alone.
 *
 * @module
 */
import { pick, type Random, shuffled } from "@lib/random.ts";
import type { ComposedRow, Conversation } from "./compose.ts";
import {
  emailSentence,
  phoneSentence,
  quoted,
  REVERSIBLE,
  urlSentence,
  withReplacementCharacter,
  withTypo,
} from "./corruptions.ts";
import type { Defect, Plan } from "./plan.ts";
import type { Sources } from "./topics.ts";

/** The label that a machine made of "content" in the real corpus. */
export const MISLABELLED_TOPIC = "[বিষয়বস্তু]".normalize("NFC");

/** Turns a clean row into one with a defect, or `undefined` where the row has no place for it. */
type Planter = (random: Random, row: ComposedRow, count: number) => ComposedRow | undefined;

/** A text corruption of question or answer, whichever allows it. */
function inEitherField(apply: (random: Random, text: string) => string | undefined): Planter {
  return (random, row) => {
    for (const field of shuffled(random, ["question", "answer"] as const)) {
      const text = apply(random, row[field]);
      if (text !== undefined) return { ...row, [field]: text };
    }
    return undefined;
  };
}

/** Planters that need no outside text. */
const PLAIN = {
  replacement_character: inEitherField(withReplacementCharacter),
  missing_question: (_, row) => ({ ...row, question: "" }),
  missing_answer: (_, row) => ({ ...row, answer: "" }),
  question_equals_answer: (_, row) => ({ ...row, answer: row.question }),
  quotes: (random, row) => ({ ...row, title: quoted(random, row.title) }),
  ellipsis: (_, row) => ({ ...row, title: `${row.title}…` }),
  phone: (random, row) => ({ ...row, question: `${row.question} ${phoneSentence(random)}` }),
  email: (random, row) => ({ ...row, question: `${row.question} ${emailSentence(random)}` }),
  url: (random, row) => ({ ...row, question: `${row.question} ${urlSentence(random)}` }),
  mislabelled_topic: (_, row) => ({ ...row, topic: MISLABELLED_TOPIC }),
} as const satisfies Readonly<Record<string, Planter>>;

/** Planters with texts of their own, taken in turn. */
function fromTexts(sources: Sources): Readonly<Record<string, Planter>> {
  const inTurn = <T>(list: readonly T[], count: number): T => list[count % list.length]!;
  const { short, foreign } = sources;
  return {
    tiny_answer: (_, row, count) => ({ ...row, answer: inTurn(short.tiny_answers, count) }),
    one_word_answer: (_, row, count) => ({ ...row, answer: inTurn(short.one_word_answers, count) }),
    one_word_question: (_, row, count) => ({
      ...row,
      question: inTurn(short.one_word_questions, count),
    }),
    repeated_token: (_, row, count) => ({ ...row, question: inTurn(short.repeated, count) }),
    not_bengali: (_, row, count) => ({ ...row, ...inTurn(foreign.pairs, count) }),
  };
}

/** Copies of untouched rows: exact ones, and near ones with a typing slip in the answer. */
function copies(random: Random, sources: readonly ComposedRow[], plan: Plan): ComposedRow[] {
  const { exact_duplicate: exact, near_duplicate: near } = plan.defects;
  if (sources.length < exact + near) {
    throw new Error(
      `Cannot plant duplicates: expected ${
        exact + near
      } untouched rows, found ${sources.length}. ` +
        `Ask for more rows.`,
    );
  }
  return sources.slice(0, exact + near).map((row, i) =>
    i < exact
      ? { ...row, defect: "exact_duplicate", copyOf: row }
      : { ...row, answer: withTypo(random, row.answer), defect: "near_duplicate", copyOf: row }
  );
}

/** Rows for quarantine, under their topic's label where the topic is there. */
function quarantineRows(random: Random, sources: Sources, plan: Plan): ComposedRow[] {
  const label = (english: string): string =>
    (sources.topics.find((topic) => topic.english === english) ?? pick(random, sources.topics))
      .label;
  return (["self_harm", "advice"] as const).flatMap((kind) => {
    const defect: Defect = `quarantine_${kind}`;
    const texts = sources.quarantine[kind].slice(0, plan.defects[defect]);
    return texts.map(({ topic, title, question, answer }): ComposedRow => ({
      topic: label(topic),
      title,
      question,
      answer,
      kind: "quarantine",
      english: topic,
      defect,
    }));
  });
}

/** Defects that are planted by changing a row, with how. */
function planters(sources: Sources): ReadonlyMap<string, Planter> {
  const reversible = Object.entries(REVERSIBLE).map(([name, apply]) =>
    [name, inEitherField(apply)] as const
  );
  return new Map<string, Planter>([
    ...Object.entries(PLAIN),
    ...Object.entries(fromTexts(sources)),
    ...reversible,
  ]);
}

/** How many rows of a plan are added to the undamaged ones rather than made of them. */
export function addedRows(plan: Plan): number {
  const { exact_duplicate, near_duplicate, quarantine_self_harm, quarantine_advice } = plan.defects;
  return exact_duplicate + near_duplicate + quarantine_self_harm + quarantine_advice;
}

/**
 * Plant all defects of a plan.
 *
 * @throws when the corpus is too small, or no text allows a defect.
 */
export function plantDefects(
  random: Random,
  conversations: readonly Conversation[],
  sources: Sources,
  plan: Plan,
): Conversation[] {
  const result = [...conversations];
  let single = shuffled(random, [...result.keys()].filter((i) => result[i]!.length === 1));
  for (const [name, planter] of planters(sources)) {
    const wanted = plan.defects[name as Defect];
    const planted = new Set<number>();
    for (const i of single) {
      if (planted.size === wanted) break;
      const row = planter(random, result[i]![0], planted.size);
      if (row === undefined) continue;
      result[i] = [{ ...row, defect: name }];
      planted.add(i);
    }
    if (planted.size < wanted) {
      throw new Error(
        `Cannot plant "${name}": expected ${wanted} rows that allow it, found ${planted.size}. ` +
          `Ask for more rows.`,
      );
    }
    single = single.filter((i) => !planted.has(i));
  }
  const added = [
    ...copies(random, single.map((i) => result[i]![0]), plan),
    ...quarantineRows(random, sources, plan),
  ];
  return [...result, ...added.map((row): Conversation => [row])];
}
