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
import { compilePatterns, type Lists } from "./pattern.ts";
import { INPUT_KINDS, type InputKind, type Level, OUTPUT_KINDS, type OutputKind } from "./types.ts";

const patterns = z.array(z.string().trim().min(2)).min(1);
const id = z.string().regex(/^[a-z][a-z0-9_]*$/);

const InputRule = z.strictObject({
  id,
  kind: z.enum(INPUT_KINDS),
  level: z.union([0, 1, 2, 3, 4].map((one) => z.literal(one as Level))),
  /** Whose trouble it is: asked of the words around ("আমার বোন … চায়"). @default "anyone" */
  about: z.enum(["anyone", "writer"]).optional(),
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
});
const ListsFile = z.strictObject({ about: z.string(), lists: z.record(z.string(), z.string()) });

/** A rule on what a person writes, compiled. */
export interface InputPattern {
  readonly id: string;
  readonly kind: InputKind;
  readonly level: Level;
  readonly about: "anyone" | "writer";
  readonly afterCrisis: boolean;
  /** Strict form, then loose where the rule has one. */
  readonly forms: readonly RegExp[];
  readonly with: RegExp | null;
  readonly without: RegExp | null;
}

/** A rule on what the model writes, compiled. */
export interface OutputPattern {
  readonly id: string;
  readonly kind: OutputKind;
  readonly fromLevel: Level;
  readonly expression: RegExp;
}

/** The lexicon ready for use. */
export interface Lexicon {
  readonly lists: Lists;
  readonly input: readonly InputPattern[];
  readonly idioms: RegExp;
  readonly output: readonly OutputPattern[];
  readonly harmlessOutput: RegExp;
}

function compileRule(rule: z.infer<typeof InputRule>, names: Lists): InputPattern {
  const compile = (sources: readonly string[] | undefined): RegExp | null =>
    sources === undefined ? null : compilePatterns(sources, names, "strict");
  const loose = rule.loose ?? rule.level >= 2;
  return {
    id: rule.id,
    kind: rule.kind,
    level: rule.level,
    about: rule.about ?? "anyone",
    afterCrisis: rule.after_crisis ?? false,
    forms: (loose ? ["strict", "loose"] as const : ["strict"] as const)
      .map((form) => compilePatterns(rule.patterns, names, form)),
    with: compile(rule.with),
    without: compile(rule.without),
  };
}

let compiled: Lexicon | undefined;

/** The lexicon that ships with the project; compiled on first use. */
export function safetyLexicon(): Lexicon {
  if (compiled !== undefined) return compiled;
  const names = ListsFile.parse(lists).lists;
  const rules = [crisis, harm, sorrow, limits].flatMap((file) => InputFile.parse(file).rules);
  const out = OutputFile.parse(output);
  compiled = {
    lists: names,
    input: rules.map((rule) => compileRule(rule, names)),
    idioms: compilePatterns(BenignFile.parse(benign).idioms, names, "strict"),
    output: out.rules.map((rule) => ({
      id: rule.id,
      kind: rule.kind,
      fromLevel: rule.from_level ?? 0,
      expression: compilePatterns(rule.patterns, names, "strict"),
    })),
    harmlessOutput: compilePatterns(out.harmless, names, "strict"),
  };
  return compiled;
}
