/**
 * What the guardrails say about a text: levels, kinds, spans.
 *
 * @module
 */
import type { Helplines } from "./helplines.ts";

/**
 * How serious a text is: 0 none, 1 distress, 2 passive or indirect signs of suicide, 3 intent, plan,
 * attempt or emergency, 4 abuse, a minor, or a threat to others.
 */
export type Level = 0 | 1 | 2 | 3 | 4;

/** Where the person is, for the numbers that a reply names; unknown names both countries' emergency numbers. */
export type Region = "BD" | "IN" | "unknown";

/** The kinds of finding on what a person writes. */
export const INPUT_KINDS = [
  "none",
  "distress",
  "bereavement",
  "medical",
  "legal",
  "jailbreak",
  "third_party",
  "indirect",
  "intent",
  "attempt",
  "method_request",
  "emergency",
  "minor",
  "abuse",
  "threat",
] as const;
export type InputKind = (typeof INPUT_KINDS)[number];

/** The kinds of finding on what the model writes. */
export const OUTPUT_KINDS = [
  "dose",
  "diagnosis",
  "medication",
  "prognosis",
  "legal",
  "method",
  "unknown_number",
  "blame",
  "secrecy",
  "false_promise",
  "claims_human",
  "sexual",
  "link",
] as const;
export type OutputKind = (typeof OUTPUT_KINDS)[number];

/** A stretch of the original text that a rule matched. */
export interface Span {
  /** UTF-16 offsets in the original text; `text` is `original.slice(start, end)`. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** Id of the rule. */
  readonly cue: string;
  readonly kind: string;
}

/** What the input guard says of one message. */
export interface Assessment {
  readonly level: Level;
  readonly kind: InputKind;
  readonly spans: readonly Span[];
  /** A fixed reply in place of the model's; null: the model answers. */
  readonly reply: string | null;
  /** One instruction to add for the model; null without one. */
  readonly note: string | null;
}

/** Options of the input guard. */
export interface AssessOptions {
  /** @default "unknown" */
  readonly region?: Region;
  /** The person's earlier messages, oldest first. */
  readonly history?: readonly string[];
  /** @default the project's data/helplines.json */
  readonly helplines?: Helplines;
}

/** One thing that an answer must not say. */
export interface OutputFinding {
  readonly kind: OutputKind;
  readonly span: Span;
}

/** What the output guard says of one answer. */
export interface AnswerCheck {
  readonly ok: boolean;
  readonly findings: readonly OutputFinding[];
  /** What to show in place of the answer; null when it may be shown. */
  readonly replacement: string | null;
}

/** Options of the output guard. */
export interface CheckOptions {
  /** @default "unknown" */
  readonly region?: Region;
  /** Level of the message answered: from 2 on, "সব ঠিক হয়ে যাবে" may not stand. @default 0 */
  readonly level?: Level;
  /** @default the project's data/helplines.json */
  readonly helplines?: Helplines;
}
