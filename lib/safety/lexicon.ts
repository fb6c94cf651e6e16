/**
 * The guardrails' lexicon: what is data, read and compiled.
 *
 * @module
 */
import { z } from "zod";
import benign from "./lexicon/benign.json" with { type: "json" };
import crisis from "./lexicon/crisis.json" with { type: "json" };
import harm from "./lexicon/harm.json" with { type: "json" };
import limits from "./lexicon/limits.json" with { type: "json" };
import lists from "./lexicon/lists.json" with { type: "json" };
import output from "./lexicon/output.json" with { type: "json" };
import sorrow from "./lexicon/sorrow.json" with { type: "json" };
import type { Lists } from "./pattern.ts";
import { PatternSet } from "./pattern_set.ts";
import { INPUT_KINDS, type InputKind, type Level, OUTPUT_KINDS, type OutputKind } from "./types.ts";

const patterns = z.array(z.string().trim().min(2)).min(1);
const id = z.string().regex(/^[a-z][a-z0-9_]*$/);

const InputRule = z.strictObject({
  id,
  kind: z.enum(INPUT_KINDS),
  level: z.union([0, 1, 2, 3, 4].map((one) => z.literal(one as Level))),
  /**
   * Whose trouble it is, asked of the words around ("আমার বোন … চায়"): of somebody else it becomes
   * third_party under "writer" and nothing under "only_writer". @default "anyone"
   */
  about: z.enum(["anyone", "writer", "only_writer"]).optional(),
  /** Found also with its letters spaced apart or its words joined. @default true from level 2 on */
  loose: z.boolean().optional(),
  /** Counts only where one of these stands in the same message. */
  with: patterns.optional(),
  /** Does not count where one of these stands in the same message. */
  without: patterns.optional(),
  /** Counts only after a message of level 2 or higher. */
  after_crisis: z.boolean().optional(),
  patterns,
});

const InputFile = z.strictObject({ about: z.string(), rules: z.array(InputRule) });
const OutputFile = z.strictObject({
  about: z.string(),
  /** Stretches that no rule looks into. */
  harmless: patterns,
  rules: z.array(z.strictObject({
    id,
    kind: z.enum(OUTPUT_KINDS),
    /** Counts only in an answer to a message of this level or higher. @default 0 */
    from_level: z.literal([2, 3]).optional(),
    patterns,
  })),
});
const BenignFile = z.strictObject({
  about: z.string(),
  /** Hyperbole and set phrases; each hides its own span only. */
  idioms: patterns,
  /** What says that there is no danger; hidden from the classifier alone. */
  denials: patterns,
});
const ListsFile = z.strictObject({ about: z.string(), lists: z.record(z.string(), z.string()) });

/** A rule on what a person writes. */
export interface InputPattern {
  readonly id: string;
  readonly kind: InputKind;
  readonly level: Level;
  readonly about: "anyone" | "writer" | "only_writer";
  readonly afterCrisis: boolean;
  readonly loose: boolean;
  /** Groups of `contexts` of which one must, or none may, stand in the message; -1 without. */
  readonly with: number;
  readonly without: number;
}

/** A rule on what the model writes. */
export interface OutputPattern {
  readonly id: string;
  readonly kind: OutputKind;
  readonly fromLevel: Level;
}

/** The lexicon ready for use; the groups of `inputPatterns` are the rules of `input`, in order. */
export interface Lexicon {
  readonly lists: Lists;
  readonly input: readonly InputPattern[];
  readonly inputPatterns: PatternSet;
  readonly contexts: PatternSet;
  readonly idioms: PatternSet;
  readonly denials: PatternSet;
  readonly output: readonly OutputPattern[];
  readonly outputPatterns: PatternSet;
  readonly harmlessOutput: PatternSet;
}

let compiled: Lexicon | undefined;

/** The lexicon that ships with the project; compiled on first use. */
export function safetyLexicon(): Lexicon {
  compiled ??= compile();
  return compiled;
}

function compile(): Lexicon {
  const names = ListsFile.parse(lists).lists;
  const rules = [crisis, harm, sorrow, limits].flatMap((file) => InputFile.parse(file).rules);
  const out = OutputFile.parse(output);
  const harmless = BenignFile.parse(benign);
  const contexts: (readonly string[])[] = [];
  const context = (sources: readonly string[] | undefined): number =>
    sources === undefined ? -1 : contexts.push(sources) - 1;
  const input = rules.map((rule): InputPattern => ({
    id: rule.id,
    kind: rule.kind,
    level: rule.level,
    about: rule.about ?? "anyone",
    afterCrisis: rule.after_crisis ?? false,
    loose: rule.loose ?? rule.level >= 2,
    with: context(rule.with),
    without: context(rule.without),
  }));
  return {
    lists: names,
    input,
    inputPatterns: new PatternSet(rules.map((rule) => rule.patterns), names),
    contexts: new PatternSet(contexts, names),
    idioms: new PatternSet([harmless.idioms], names),
    denials: new PatternSet([harmless.denials], names),
    output: out.rules.map(({ id, kind, from_level: fromLevel }) => ({
      id,
      kind,
      fromLevel: fromLevel ?? 0,
    })),
    outputPatterns: new PatternSet(out.rules.map((rule) => rule.patterns), names),
    harmlessOutput: new PatternSet([out.harmless], names),
  };
}
