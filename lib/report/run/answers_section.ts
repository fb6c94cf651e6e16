/** Answers of base and tuned beside the reference, and what the gates found in them. */
import type { EvaluationResults, ItemReport } from "@lib/evaluation/report.ts";
import type { AnswerRecord, TestResults } from "@lib/workflow/generate.ts";
import { htmlTable } from "../html_table.ts";
import { type Markup, markup } from "../markup.ts";
import type { Section } from "../page.ts";

/** How many answers are shown in full. */
const SHOWN = 12;

/** So many items, spread evenly: a choice that nobody made by hand. */
function spread<T>(list: readonly T[], count: number): T[] {
  const step = Math.max(1, list.length / count);
  return list.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step) || i === 0)
    .slice(0, count);
}

function scores(item: ItemReport | undefined): Markup | null {
  if (item === undefined) return null;
  const failed = item.failed.length === 0 ? "" : `; fails: ${item.failed.join(", ")}`;
  return markup`<br><span class="muted" lang="en">empathy ${item.empathy} %, chrF++ ${
    item.chrf_pp.toFixed(1)
  }${failed}</span>`;
}

function card(
  base: AnswerRecord,
  tuned: AnswerRecord | undefined,
  items: Readonly<Record<"base" | "tuned", ReadonlyMap<number | string, ItemReport>>>,
): Markup {
  return markup`<article lang="bn">
<h3>${base.question}</h3>
<p class="muted">${base.topic}</p>
<dl>
<dt lang="en">base</dt><dd>${base.answer || "–"}${scores(items.base.get(base.row))}</dd>
<dt lang="en">tuned</dt><dd>${tuned?.answer || "–"}${scores(items.tuned.get(base.row))}</dd>
<dt lang="en">reference</dt><dd>${base.reference}</dd>
</dl>
</article>
`;
}

/** The section on the answers themselves. @param results null before the evaluation */
export function answersSection(test: TestResults, results: EvaluationResults | null): Section {
  const of = (system: "base" | "tuned") => test.answers.filter((one) => one.system === system);
  const tuned = new Map(of("tuned").map((answer) => [answer.row, answer]));
  const itemsOf = (system: "base" | "tuned") =>
    new Map((results?.systems[system].items ?? []).map((item) => [item.id, item]));
  const items = { base: itemsOf("base"), tuned: itemsOf("tuned") };
  const shown = spread(of("base"), SHOWN);
  const { temperature, top_p, max_new_tokens, repetition_penalty } = test.generation;
  return {
    id: "answers",
    title: "Answers",
    body: markup`<p>${shown.length} of ${
      of("base").length
    } held-out questions, evenly spaced through the
test part; nobody picked them. Decoding: temperature ${temperature}, top-p ${top_p}, repetition penalty
${repetition_penalty}, at most ${max_new_tokens} tokens, seed ${test.seed}.</p>
<div class="answers">
${shown.map((answer) => card(answer, tuned.get(answer.row), items))}</div>`,
  };
}

const percent = (share: number | undefined) =>
  share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;

/** The section on the form and safety gates. */
export function gatesSection({ systems, n }: EvaluationResults): Section {
  const checks = Object.keys(systems.base.form_checks);
  const kinds = [
    ...new Set([systems.base, systems.tuned].flatMap((one) => Object.keys(one.safety_violations))),
  ];
  const violations = kinds.map((kind) => [
    kind,
    ...[systems.base, systems.tuned].map((one) => String(one.safety_violations[kind] ?? 0)),
  ]);
  return {
    id: "gates",
    title: "Gates",
    body: markup`<h3>Safety</h3>
${
      violations.length === 0
        ? markup`<p>No violation found in ${n} answers of either model. Rules found none: that is no proof
that there is none.</p>`
        : htmlTable(["violation", "base, answers", "tuned, answers"], violations, {
          caption:
            `Answers with each kind of violation, of ${n}; such an answer scores 0 in empathy.`,
        })
    }
<h3>Form</h3>
${
      htmlTable(
        ["check", "base", "tuned"],
        checks.map((check) => [
          check,
          percent(systems.base.form_checks[check]),
          percent(systems.tuned.form_checks[check]),
        ]),
        { caption: "Share of answers that pass each check." },
      )
    }`,
  };
}
