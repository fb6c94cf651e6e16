/** Metrics with their intervals: base, tuned, their paired difference, floor and references. */
import { METRIC_IDS, type MetricId, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { EvaluationResults } from "@lib/evaluation/report.ts";
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import { htmlTable } from "../html_table.ts";
import { type Markup, markup } from "../markup.ts";
import type { Section } from "../page.ts";
import { intervalFigure } from "../svg_intervals.ts";
import { formatInterval, formatValue } from "../text_table.ts";

const FAMILIES = {
  likelihood: "How likely the model finds the references",
  overlap: "Overlap with the references",
  semantic: "Semantic similarity to the references",
  empathy: "Empathy (automatic proxy, not clinically validated)",
  gates: "Gates: share of answers that pass",
  degeneracy: "Form of the answers",
} as const;
type Family = keyof typeof FAMILIES;

/** The metrics of a family that were measured. */
const idsOf = ({ differences }: EvaluationResults, family: Family) =>
  METRIC_IDS.filter((id) => metricInfo(id).family === family && differences[id].n > 0);

function metricRow({ systems, differences }: EvaluationResults, id: MetricId): string[] {
  const { difference, low, high, p_value, n } = differences[id];
  return [
    metricInfo(id).label,
    formatInterval(systems.base.metrics[id]),
    formatInterval(systems.tuned.metrics[id]),
    formatInterval({ value: difference, low, high }),
    p_value === null ? "–" : p_value.toFixed(3),
    String(n),
  ];
}

/** On one scale of 100: shares and F1 times 100. */
function differenceFigure({ differences }: EvaluationResults): Markup | null {
  const ids = METRIC_IDS.filter((id) => ["0..100", "0..1", "share"].includes(metricInfo(id).unit));
  const rows = ids.map((id) => {
    const { difference, low, high } = differences[id];
    const scaled = (value: number | null) =>
      value === null ? null : metricInfo(id).unit === "0..100" ? value : 100 * value;
    return {
      name: metricInfo(id).label,
      value: scaled(difference),
      low: scaled(low),
      high: scaled(high),
    };
  });
  return intervalFigure(rows, {
    title: "What the adapter changed: paired difference tuned − base with its 95 % interval. " +
      "An interval that crosses zero shows nothing.",
    xLabel: "points of 100",
  });
}

function references(results: EvaluationResults): Markup {
  const { base, tuned } = results.systems;
  const floor = (key: "bleu" | "chrf_pp" | "rouge_l" | "empathy") =>
    [base, tuned].map((system) => formatValue(system.floor?.[key]));
  const { empathy, levels, legacy_keyword_score } = results.reference;
  return markup`<h3>Floor and ceiling</h3>
${
    htmlTable(
      ["metric", "base", "tuned"],
      [
        ["BLEU", ...floor("bleu")],
        ["chrF++", ...floor("chrf_pp")],
        ["ROUGE-L F1", ...floor("rouge_l")],
        ["Empathy (proxy)", ...floor("empathy")],
      ],
      { caption: "Floor: the same answers held against other groups' questions and references." },
    )
  }
${
    htmlTable(
      ["metric", "references"],
      [
        ["Empathy (proxy)", formatInterval(empathy)],
        ...EMPATHY_CRITERIA.map((criterion) => [
          metricInfo(`empathy_${criterion}`).label,
          formatInterval(levels[criterion]),
        ]),
        ["Keyword score (legacy)", formatInterval(legacy_keyword_score)],
      ],
      { caption: "Ceiling: what the reference answers themselves reach under the rules." },
    )
  }`;
}

/** The section. */
export function resultsSection(results: EvaluationResults): Section {
  const head = ["metric", "base", "tuned", "tuned − base", "p", "n"];
  const { n, groups, bootstrap, signatures, notes } = results;
  return {
    id: "results",
    title: "Results",
    body:
      markup`<p>${n} held-out answers in ${groups} groups. Every value stands with its 95 % interval
(${bootstrap.draws} bootstrap draws over groups, seed ${bootstrap.seed}); p by the paired bootstrap, not
corrected for the number of metrics.</p>
${differenceFigure(results)}
${
        (Object.keys(FAMILIES) as Family[]).filter((family) => idsOf(results, family).length > 0)
          .map((family) =>
            markup`<h3>${FAMILIES[family]}</h3>
${
              htmlTable(head, idsOf(results, family).map((id) => metricRow(results, id)), {
                numeric: [1, 2, 3, 4, 5],
              })
            }`
          )
      }
${references(results)}
<details><summary>How to read these numbers</summary>
<ul>${notes.map((note) => markup`<li>${note}</li>`)}</ul>
<dl>${
        Object.entries(signatures).filter(([, text]) => text !== null).map(([name, text]) =>
          markup`<dt>${name}</dt><dd>${text}</dd>`
        )
      }</dl>
</details>`,
  };
}
