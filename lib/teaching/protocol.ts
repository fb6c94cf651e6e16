/**
 * What examiner, examinee and the grader say to one another.
 *
 * @module
 */
import { z } from "zod";

/** What the examiner tells the grader; `ask` is passed on to the examinee unread. */
export const ExaminerMessage = z.discriminatedUnion("say", [
  z.strictObject({ say: z.literal("ready") }),
  z.strictObject({ say: z.literal("begin"), exercise: z.int() }),
  z.strictObject({ say: z.literal("check"), name: z.string(), ok: z.boolean(), text: z.string() }),
  z.strictObject({ say: z.literal("error"), text: z.string() }),
  z.strictObject({ say: z.literal("end") }),
  z.strictObject({ say: z.literal("done") }),
  z.strictObject({ say: z.literal("ask"), question: z.unknown() }),
]);
/** A message of the examiner's. */
export type ExaminerMessage = z.infer<typeof ExaminerMessage>;

/** What the examiner asks of the examinee. Values are encoded as `wire.ts` does. */
export const Question = z.discriminatedUnion("do", [
  z.strictObject({ do: z.literal("define"), exercise: z.int() }),
  /** Call a function that came as a value. */
  z.strictObject({ do: z.literal("call"), target: z.int(), args: z.unknown() }),
  /** The answer to a call back. */
  z.strictObject({ do: z.literal("return"), value: z.unknown() }),
  z.strictObject({ do: z.literal("throw"), error: z.unknown() }),
]);
/** A question of the examiner's. */
export type Question = z.infer<typeof Question>;

/** What the examinee answers. It may be hostile: nothing here is more than a value. */
export const Answer = z.discriminatedUnion("say", [
  z.strictObject({ say: z.literal("ready") }),
  z.strictObject({ say: z.literal("return"), value: z.unknown() }),
  z.strictObject({ say: z.literal("throw"), error: z.unknown() }),
  /** Call back a function that came as an argument. */
  z.strictObject({ say: z.literal("call"), target: z.int(), args: z.unknown() }),
]);
/** An answer of the examinee's. */
export type Answer = z.infer<typeof Answer>;

/** First line on either's standard input. */
export const Header = z.strictObject({ nonce: z.string() });
