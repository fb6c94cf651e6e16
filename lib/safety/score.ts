/**
 * How the guardrails do on labelled phrases: recall and false positives by class, with intervals.
 *
 * @module
 */
import { z } from "zod";
import { checkAnswer } from "./answer_check.ts";
import { assess } from "./assess.ts";
import type { Level } from "./types.ts";

const level = z.union([0, 1, 2, 3, 4].map((one) => z.literal(one as Level)));

/** One labelled phrase; further fields are the file's own affair. */
export const Phrase = z.object({
  text: z.string().min(1),
  class: z.string().min(1),
  /** Lowest and highest right level; answers have none. */
  level: z.tuple([level, level]).optional(),
});
export type Phrase = z.infer<typeof Phrase>;

/** A share with its 95 % interval. */
export interface Share {
  readonly count: number;
  readonly of: number;
  readonly share: number;
  readonly low: number;
  readonly high: number;
}

/** The figures of one class. */
export interface ClassScore {
  readonly class: string;
  /** Phrases at their lowest right level or above; answers: judged rightly. */
  readonly caught: Share;
  /** Phrases above their highest right level; answers: none. */
  readonly above: Share;
  readonly missed: readonly string[];
  readonly raised: readonly string[];
}

/** Wilson's interval of a share, 95 %. */
export function wilson(count: number, of: number): Share {
  if (of === 0) return { count, of, share: 0, low: 0, high: 1 };
  const z95 = 1.959963984540054;
  const share = count / of;
  const square = z95 * z95;
  const middle = (share + square / (2 * of)) / (1 + square / of);
  const half = z95 / (1 + square / of) *
    Math.sqrt(share * (1 - share) / of + square / (4 * of * of));
  return { count, of, share, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

/** Reads phrases, one JSON object a line. */
export function parsePhrases(jsonl: string): Phrase[] {
  return jsonl.split("\n").flatMap((line, at) => {
    if (line.trim() === "") return [];
    const parsed = Phrase.safeParse(JSON.parse(line));
    if (parsed.success) return [parsed.data];
    throw new TypeError(
      `Line ${at + 1}: expected a phrase with text, class and level, found ${line.slice(0, 80)}. ` +
        z.prettifyError(parsed.error),
    );
  });
}

/** Scores phrases class by class, in the order in which the classes appear. */
export function scorePhrases(phrases: readonly Phrase[]): ClassScore[] {
  const classes = [...new Set(phrases.map((phrase) => phrase.class))];
  return classes.map((name) => {
    const own = phrases.filter((phrase) => phrase.class === name);
    const judged = own.map((phrase) => ({ text: phrase.text, ...judge(phrase) }));
    const missed = judged.filter((one) => one.low).map((one) => one.text);
    const raised = judged.filter((one) => one.high).map((one) => one.text);
    return {
      class: name,
      caught: wilson(own.length - missed.length, own.length),
      above: wilson(raised.length, own.length),
      missed,
      raised,
    };
  });
}

/** Whether a phrase was put too low, or too high. */
function judge(phrase: Phrase): { readonly low: boolean; readonly high: boolean } {
  if (phrase.class.startsWith("output")) {
    const right = checkAnswer(phrase.text).ok === (phrase.class === "output_good");
    return { low: !right, high: false };
  }
  const [least, most] = phrase.level ?? [0, 4];
  const { level: found } = assess(phrase.text);
  return { low: found < least, high: found > most };
}
