/** A comparison of runs as text for a terminal. */
import { METRIC_IDS, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { RunComparison, RunPair } from "@lib/experiment/compare_runs.ts";
import type { Differing } from "./differences.ts";
import { alignedLines, formatInterval, formatValue } from "./text_table.ts";

/** Beyond this many characters a setting's value is cut: a system prompt would break the table. */
const LONGEST_VALUE = 40;

const short = (text: string): string =>
  [...text].length > LONGEST_VALUE ? `${[...text].slice(0, LONGEST_VALUE - 1).join("")}…` : text;

function differing(title: string, runs: readonly string[], list: readonly Differing[]): string[] {
  if (list.length === 0) return ["", `${title}: none`];
  return [
    "",
    title,
    ...alignedLines([
      ["", ...runs],
      ...list.map(({ key, values }) => [key, ...values.map(short)]),
    ]),
  ];
}

/** Metrics of a pair with a value on either side. */
export function pairRows({ metrics }: RunPair): string[][] {
  return METRIC_IDS.filter((id) => metrics[id].baseline !== null || metrics[id].system !== null)
    .map((id) => {
      const { baseline, system, difference: value, low, high, p_value } = metrics[id];
      return [
        metricInfo(id).label,
        formatValue(baseline),
        formatValue(system),
        formatInterval({ value, low, high }),
        p_value === null ? "–" : p_value.toFixed(3),
      ];
    });
}

/** What a pair was compared on. */
export function pairTitle({ baseline, system, rows, answered }: RunPair): string {
  return `${system} against ${baseline}, on the ${rows} rows that both answered ` +
    `(of ${answered[1]} and ${answered[0]})`;
}

/** The comparison, a line each. */
export function comparisonLines(comparison: RunComparison): string[] {
  const { runs, curves, pairs, notes, system } = comparison;
  return [
    ...alignedLines([
      ["run", "steps", "lowest validation loss", "perplexity", "seconds"],
      ...curves.map(({ name, steps, best_validation_loss: best, seconds }) => [
        name,
        String(steps.at(-1) ?? 0),
        best === null ? "–" : best.toFixed(4),
        best === null ? "–" : formatValue(Math.exp(best)),
        seconds === null ? "–" : seconds.toFixed(0),
      ]),
    ]),
    ...differing("settings that differ", runs, comparison.config_differences),
    ...differing("environments differ in", runs, comparison.environment_differences),
    ...pairs.flatMap((pair) => [
      "",
      `${pairTitle(pair)}; answers of ${system}, 95 % intervals of the paired difference`,
      ...alignedLines([
        ["metric", pair.baseline, pair.system, "difference", "p"],
        ...pairRows(pair),
      ]),
      ...pair.notes.map((note) => `– ${note}`),
    ]),
    ...notes.length === 0 ? [] : ["", ...notes],
  ];
}
