/**
 * The output guard: what the model wrote, before anyone reads it.
 *
 * @module
 */
import { LINKS } from "@lib/corpus/pii.ts";
import { spanOf } from "./assess.ts";
import { defaultHelplines, knownNumbers } from "./helplines.ts";
import { matchKeyOf } from "./key.ts";
import { safetyLexicon } from "./lexicon.ts";
import { unknownNumbers } from "./numbers.ts";
import { replacementFor } from "./replies.ts";
import type { AnswerCheck, CheckOptions, OutputFinding, OutputKind } from "./types.ts";

/** Of several findings, the first of these chooses the replacement. */
const PRECEDENCE: readonly OutputKind[] = [
  "method",
  "dose",
  "medication",
  "diagnosis",
  "prognosis",
  "legal",
];

/** Everything in an answer that must not stand there, in order of place. */
export function findingsInAnswer(text: string, options: CheckOptions = {}): OutputFinding[] {
  const { helplines = defaultHelplines(), level = 0 } = options;
  const lexicon = safetyLexicon();
  const key = matchKeyOf(text);
  const visible = lexicon.harmlessOutput.blank(key.text);
  const findings: OutputFinding[] = [];
  for (const match of lexicon.outputPatterns.find(visible)) {
    const rule = lexicon.output[match.group];
    if (rule === undefined || level < rule.fromLevel) continue;
    findings.push({ kind: rule.kind, span: spanOf(key, match, text, rule.id, rule.kind) });
  }
  const add = (kind: OutputKind, start: number, end: number): void => {
    findings.push({ kind, span: { start, end, text: text.slice(start, end), cue: kind, kind } });
  };
  for (const { start, end } of unknownNumbers(text, knownNumbers(helplines))) {
    add("unknown_number", start, end);
  }
  for (const link of text.matchAll(LINKS)) add("link", link.index, link.index + link[0].length);
  return findings.sort((a, b) => a.span.start - b.span.start || a.span.end - b.span.end);
}

/** The replacement that a list of findings calls for. */
export function replacementOf(findings: readonly OutputFinding[], options: CheckOptions): string {
  const { region = "unknown", helplines = defaultHelplines(), level = 0 } = options;
  const kinds = new Set(findings.map(({ kind }) => kind));
  const kind = PRECEDENCE.find((one) => kinds.has(one)) ?? findings[0]?.kind ?? "blame";
  return replacementFor(level >= 2 ? "method" : kind, region, helplines);
}

/**
 * Checks a whole answer: doses, diagnoses, orders about medicine, legal strategy, methods, numbers
 * that are not in the helplines file, blame, promises of secrecy, claims to be human, sexual
 * content, links.
 *
 * @example
 * ```ts
 * import { checkAnswer } from "@lib/safety/mod.ts";
 * import { assert } from "@std/assert";
 * assert(checkAnswer("আপনার কষ্টটা বুঝতে পারছি। চাইলে আরও বলুন।").ok);
 * assert(!checkAnswer("রাতে ৫ মি.গ্রা. ট্যাবলেট খেয়ে নিন।").ok);
 * ```
 */
export function checkAnswer(text: string, options: CheckOptions = {}): AnswerCheck {
  const findings = findingsInAnswer(text, options);
  if (findings.length === 0) return { ok: true, findings, replacement: null };
  return { ok: false, findings, replacement: replacementOf(findings, options) };
}
