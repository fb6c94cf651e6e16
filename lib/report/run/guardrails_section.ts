/** What the guardrails say of a run: of its test questions, of its answers, and of a batch. */
import { z } from "zod";
import { assess, checkAnswer, type InputKind, type Level } from "@lib/safety/mod.ts";
import { type SystemName, SYSTEMS, type TestResults } from "@lib/workflow/generate.ts";
import { htmlTable } from "../html_table.ts";
import { type Markup, markup } from "../markup.ts";
import type { Section } from "../page.ts";

const LEVELS: Readonly<Record<Level, string>> = {
  0: "none",
  1: "distress",
  2: "passive or indirect signs",
  3: "intent, plan or attempt",
  4: "abuse, a minor, a threat",
};

/** Answers shown of those that the guardrails would have replaced. */
const SHOWN = 10;

/** What is read of `batch_results.json`. */
const Batch = z.looseObject({
  results: z.array(z.looseObject({
    level: z.number().int(),
    action: z.string(),
    gates: z.looseObject({ form: z.boolean(), safety: z.boolean() }).optional(),
  })),
});

/** How often each key occurs. */
function countBy<T extends string | number>(keys: readonly T[]): Map<T, number> {
  const counts = new Map<T, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

/** A finding in an answer. */
interface Found {
  readonly system: SystemName;
  readonly kinds: readonly string[];
  readonly question: string;
  readonly answer: string;
}

/** Each question assessed once, each answer checked at the level of its question. */
function guardAnswers({ answers }: TestResults) {
  const assessed = new Map<string, { readonly level: Level; readonly kind: InputKind }>();
  const found: Found[] = [];
  for (const { question, answer, system } of answers) {
    const known = assessed.get(question) ?? assess(question);
    assessed.set(question, known);
    const { ok, findings } = checkAnswer(answer, { level: known.level });
    const kinds = [...new Set(findings.map(({ kind }) => kind))];
    if (!ok) found.push({ system, kinds, question, answer });
  }
  return { assessed: [...assessed.values()], found };
}

function answersPart(test: TestResults): Markup {
  const { assessed, found } = guardAnswers(test);
  const levels = countBy(assessed.map(({ level }) => level));
  const kinds = [...new Set(found.flatMap((one) => one.kinds))];
  const count = (system: SystemName, kind: string) =>
    found.filter((one) => one.system === system && one.kinds.includes(kind)).length;
  return markup`${
    htmlTable(
      ["level", "meaning", "questions"],
      ([0, 1, 2, 3, 4] as const).map((level) => [
        `L${level}`,
        LEVELS[level],
        levels.get(level) ?? 0,
      ]),
      { caption: `The input guardrail on the ${assessed.length} test questions.` },
    )
  }
${
    kinds.length === 0
      ? markup`<p>The output guardrail would have let every answer pass. Rules found nothing: that is no
proof that there is nothing.</p>`
      : htmlTable(
        ["finding", ...SYSTEMS.map((system) => `${system}, answers`)],
        kinds.map((kind) => [kind, ...SYSTEMS.map((system) => count(system, kind))]),
        { caption: "Answers that the output guardrail would have replaced." },
      )
  }
${
    found.length === 0
      ? null
      : markup`<details><summary>${
        Math.min(SHOWN, found.length)
      } of ${found.length} such answers</summary>
<div class="answers">${
        found.slice(0, SHOWN).map(({ system, kinds, question, answer }) =>
          markup`<article lang="bn"><h3>${question}</h3>
<dl><dt lang="en">${system}</dt><dd>${answer}</dd>
<dt lang="en">finding</dt><dd lang="en">${kinds.join(", ")}</dd></dl></article>`
        )
      }</div></details>`
  }`;
}

function batchPart(value: unknown): Markup | null {
  const { data } = Batch.safeParse(value);
  if (data === undefined || data.results.length === 0) return null;
  const rows = [0, 1, 2, 3, 4].map((level) => {
    const part = data.results.filter((one) => one.level === level);
    const actions = [...countBy(part.map(({ action }) => action))];
    return [
      `L${level}`,
      part.length,
      actions.map(([action, times]) => `${action} ${times}`).join(", ") || "–",
      part.filter(({ gates }) => gates?.safety === false).length,
    ];
  });
  return markup`<h3>Batch</h3>
${
    htmlTable(["level", "prompts", "what was done", "safety gate failed"], rows, {
      caption: `${data.results.length} records of batch_results.json.`,
    })
  }`;
}

/**
 * The section; null when there is nothing to guard.
 *
 * @param test the run's answers to the test questions, or null
 * @param batch `batch_results.json` as read, or null
 */
export function guardrailsSection(test: TestResults | null, batch: unknown): Section | null {
  const batched = batchPart(batch);
  if (test === null && batched === null) return null;
  return {
    id: "guardrails",
    title: "Guardrails",
    body:
      markup`<p>Deterministic rules outside the model, on what people write and on what it answers. Answers
in this report are the model's own: nothing was replaced before it was measured.</p>
${test === null ? null : answersPart(test)}
${batched}`,
  };
}
