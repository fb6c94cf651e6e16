/**
 * The input guard: what a person's message is about, and what to do.
 *
 * @module
 */
import { type Danger, read, type Reading, safetyClassifier } from "./classifier.ts";
import { type MatchKey, matchKeyOf } from "./key.ts";
import { type InputPattern, type Lexicon, safetyLexicon } from "./lexicon.ts";
import type { PatternMatch } from "./pattern_set.ts";
import { fixedReply, noteFor } from "./replies.ts";
import { aboutSomebodyElse } from "./whose.ts";
import type { Assessment, AssessOptions, InputKind, Level, Span } from "./types.ts";

/** A rule's match, before the highest wins. */
interface Finding {
  readonly kind: InputKind;
  readonly level: Level;
  readonly span: Span;
}

/** Of one level, the first of these is what the message is about. */
const PRECEDENCE: readonly InputKind[] = [
  "emergency",
  "attempt",
  "method_request",
  "intent",
  "threat",
  "abuse",
  "minor",
  "bereavement",
  "third_party",
  "indirect",
  "jailbreak",
  "medical",
  "legal",
  "distress",
  "none",
];

/** How many earlier messages a crisis is remembered for. */
const MEMORY = 4;

/** Most UTF-16 units of one message that are looked at in one piece. */
const CHUNK = 20_000;

/**
 * Reads a message: its level, its kind, the words that say so, and the fixed reply or the note.
 * Deterministic; the highest level wins, and what is ambiguous counts as the higher.
 *
 * Not a medical device and not clinically validated.
 *
 * @example
 * ```ts
 * import { assess } from "@lib/safety/mod.ts";
 * import { assert, assertEquals } from "@std/assert";
 * assertEquals(assess("আজ আকাশটা খুব সুন্দর।").level, 0);
 * const crisis = assess("ami ar bachte chai na", { region: "BD" });
 * assert(crisis.level >= 2 && crisis.reply?.includes("৯৯৯"));
 * ```
 */
export function assess(text: string, options: AssessOptions = {}): Assessment {
  const lexicon = safetyLexicon();
  const history = options.history ?? [];
  const earlier = history.slice(-MEMORY).map((message) => findingsOf(message, lexicon, false));
  const inCrisis = earlier.some((findings) => highest(findings).level >= 2);
  const findings = findingsOf(text, lexicon, inCrisis);
  const { level, kind } = highest(findings);
  const spans = findings.filter((found) => found.level === level)
    .map((found) => found.span).sort((a, b) => a.start - b.start || b.end - a.end);
  const repeated = (kind === "bereavement" || kind === "minor") &&
    history.some((message) =>
      findingsOf(message, lexicon, false).some((found) => found.kind === kind)
    );
  const reply = repeated ? null : fixedReply(kind, text, options);
  const note = reply === null ? noteFor(kind, inCrisis) : null;
  return { level, kind, spans, reply, note };
}

function highest(findings: readonly Finding[]): { level: Level; kind: InputKind } {
  let best: { level: Level; kind: InputKind } = { level: 0, kind: "none" };
  for (const { level, kind } of findings) {
    const sooner = PRECEDENCE.indexOf(kind) < PRECEDENCE.indexOf(best.kind);
    if (level > best.level || (level === best.level && sooner)) best = { level, kind };
  }
  return best;
}

/** Pieces of a long text that overlap by far more than a pattern can span. */
function* piecesOf(text: string): Iterable<{ readonly from: number; readonly piece: string }> {
  const overlap = 400;
  for (let from = 0; from === 0 || from + overlap < text.length; from += CHUNK - overlap) {
    yield { from, piece: text.slice(from, from + CHUNK) };
  }
}

function findingsOf(text: string, lexicon: Lexicon, afterCrisis: boolean): Finding[] {
  const found = new Map<string, Finding>();
  for (const { from, piece } of piecesOf(text)) {
    for (const one of findingsInPiece(piece, lexicon, afterCrisis)) {
      const start = one.span.start + from;
      const end = one.span.end + from;
      const span = { ...one.span, start, end };
      found.set(`${one.span.cue} ${start} ${end}`, { ...one, span });
    }
  }
  return [...found.values()];
}

function findingsInPiece(text: string, lexicon: Lexicon, afterCrisis: boolean): readonly Finding[] {
  const key = matchKeyOf(text);
  const visible = lexicon.idioms.blank(key.text);
  const contexts = lexicon.contexts.groupsIn(visible);
  const counts = lexicon.input.map((rule) =>
    (!rule.afterCrisis || afterCrisis) && (rule.with < 0 || contexts.has(rule.with)) &&
    (rule.without < 0 || !contexts.has(rule.without))
  );
  const strict = lexicon.inputPatterns.find(visible, false, (group) => counts[group] === true);
  const found = new Set(strict.map(({ group }) => group));
  const loose = lexicon.inputPatterns.find(
    visible,
    true,
    (group) => counts[group] === true && lexicon.input[group]?.loose === true && !found.has(group),
  );
  const legible = lexicon.denials.blank(visible);
  const reading = read(legible);
  // The classifier cannot read letters spaced apart and words run together: these count as they are.
  const counted = reading === null ? strict : strict.filter((match) => {
    const rule = lexicon.input[match.group];
    return rule !== undefined && !(doubted(rule) && isHarmless(legible, match, reading));
  });
  const findings = [...counted, ...loose].flatMap((match) => {
    const rule = lexicon.input[match.group];
    return rule === undefined ? [] : findingOf(rule, match, key, visible, text);
  });
  return reading === null ? findings : weighed(findings, reading, key, text);
}

/** What each danger of the classifier is taken for. */
const READ: Readonly<Record<Danger, { readonly kind: InputKind; readonly level: Level }>> = {
  passive: { kind: "indirect", level: 2 },
  intent: { kind: "intent", level: 3 },
  other: { kind: "third_party", level: 2 },
  other_intent: { kind: "third_party", level: 3 },
  harm: { kind: "abuse", level: 4 },
};

/** Kinds that idioms, films and games are full of too; other kinds count whatever stands around. */
const DOUBTED: ReadonlySet<InputKind> = new Set([
  "indirect",
  "intent",
  "third_party",
  "abuse",
  "minor",
  "threat",
]);

/** Chance of distress from which on the model is asked for gentle support. */
const DISTRESS = 0.6;

const doubted = ({ level, kind }: InputPattern): boolean => level >= 2 && DOUBTED.has(kind);

/**
 * Whether the classifier is all but sure that nothing is wrong, in the whole and in the match's own
 * sentence with its neighbours: one sentence of danger must not drown in a long harmless letter.
 */
function isHarmless(legible: string, match: PatternMatch, whole: Reading): boolean {
  const { keep } = safetyClassifier();
  if (whole.danger >= keep) return false;
  return (read(aroundMatch(legible, match))?.danger ?? 1) < keep;
}

/** The sentence of a match, the one before and the one behind. */
function aroundMatch(key: string, { start, end }: PatternMatch): string {
  let from = start;
  let to = end;
  for (let side = 0; side < 2; side++) {
    from = Math.max(0, key.lastIndexOf(". ", from - 1));
    const stop = key.indexOf(". ", to);
    to = stop < 0 ? key.length : stop + 2;
  }
  return key.slice(from, to).replace(/^[.] /, "");
}

/** The classifier raises where the lexicon has nothing or only a passive sign. */
function weighed(
  findings: readonly Finding[],
  reading: Reading,
  key: MatchKey,
  text: string,
): readonly Finding[] {
  const { raise } = safetyClassifier();
  const { level } = highest(findings);
  const found = (kind: InputKind, at: Level): Finding => {
    const span = spanOf(key, { group: -1, ...reading }, text, "classifier", kind);
    return { kind, level: at, span };
  };
  const danger = READ[reading.kind];
  if (reading.danger >= raise && (level < 2 || (level === 2 && danger.level > 2))) {
    return [...findings, found(danger.kind, danger.level)];
  }
  if (level === 0 && reading.chances.distress >= DISTRESS) {
    return [...findings, found("distress", 1)];
  }
  return findings;
}

function findingOf(
  rule: InputPattern,
  match: PatternMatch,
  key: MatchKey,
  visible: string,
  text: string,
): Finding[] {
  const span = spanOf(key, match, text, rule.id, rule.kind);
  if (rule.about === "anyone" || !aboutSomebodyElse(visible, match, withNextWord(text, span))) {
    return [{ kind: rule.kind, level: rule.level, span }];
  }
  if (rule.about === "only_writer") return [];
  const level = rule.kind === "attempt" ? 3 : 2;
  return [{ kind: "third_party", level, span: { ...span, kind: "third_party" } }];
}

/** The words of a span and the one after it, where a verb may end. */
function withNextWord(text: string, { start, end }: Span): string {
  const next = /^[\s]*[^\s।,.!?]{1,20}/u.exec(text.slice(end, end + 24))?.[0] ?? "";
  return text.slice(start, end) + next;
}

/** The original stretch behind a match in the key. */
export function spanOf(
  key: MatchKey,
  match: PatternMatch,
  text: string,
  cue: string,
  kind: string,
): Span {
  const start = key.starts[match.start] ?? 0;
  let last = match.end - 1;
  while (key.text[last] === " ") last--;
  let end = key.ends[last] ?? start;
  while (end < text.length && /\p{M}|\p{Cf}/u.test(text.charAt(end))) end++;
  return { start, end, text: text.slice(start, end), cue, kind };
}
