/** A score report as text for a terminal. */
import { METRIC_IDS, type MetricId, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { ScoreReport, SystemDifferences } from "@lib/evaluation/score.ts";
import { alignedLines, formatInterval, formatValue } from "./text_table.ts";

/** Metrics that at least one system was measured on. */
function measured({ systems }: ScoreReport): readonly MetricId[] {
  return METRIC_IDS.filter((id) => systems.some(({ report }) => report.metrics[id].n > 0));
}

function scoreRows(report: ScoreReport): string[][] {
  const { systems } = report;
  const plain = measured(report).map((id) => [
    metricInfo(id).label,
    ...systems.map((system) => formatInterval(system.report.metrics[id])),
  ]);
  const variants = (systems[0]?.bleu ?? []).map(({ tokenizer }, i) => [
    `BLEU, tok:${tokenizer}`,
    ...systems.map(({ bleu }) => formatInterval(bleu[i])),
  ]);
  return [...plain, ...variants];
}

function differenceLines(report: ScoreReport, one: SystemDifferences): string[] {
  const rows = measured(report).map((id) => {
    const { difference, low, high, p_value } = one.metrics[id];
    return [
      metricInfo(id).label,
      formatInterval({ value: difference, low, high }),
      p_value === null ? "–" : p_value.toFixed(3),
    ];
  });
  return alignedLines([["metric", `${one.system} − ${one.baseline}, paired`, "p"], ...rows]);
}

/** The table of scores, the floors, the paired differences, signatures and notes, a line each. */
export function scoreLines(report: ScoreReport): string[] {
  const { systems, n, groups, bootstrap } = report;
  const floors = systems.flatMap(({ name, report: { floor } }) =>
    floor === null ? [] : [
      `floor of ${name} (answers against other groups' prompts and references): ` +
      `BLEU ${formatValue(floor.bleu)}, chrF++ ${formatValue(floor.chrf_pp)}, ` +
      `ROUGE-L ${formatValue(floor.rouge_l)}, empathy ${formatValue(floor.empathy)}`,
    ]
  );
  return [
    `${n} answers a system in ${groups} groups; 95 % intervals by bootstrap over groups, ` +
    `${bootstrap.draws} draws, seed ${bootstrap.seed}`,
    "",
    ...alignedLines([["metric", ...systems.map(({ name }) => name)], ...scoreRows(report)]),
    ...floors.length === 0 ? [] : ["", ...floors],
    ...report.differences.flatMap((one) => ["", ...differenceLines(report, one)]),
    "",
    ...Object.entries(report.signatures).map(([name, text]) => `${name}: ${text}`),
    ...systems[0]?.bleu.map(({ signature }) => `bleu: ${signature}`) ?? [],
    "",
    ...report.notes.map((note) => `– ${note}`),
  ];
}
