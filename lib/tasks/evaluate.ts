/** `deno task evaluate`: notebook 05_metrics as a command. */
import { METRIC_IDS, metricInfo } from "@lib/evaluation/metric_ids.ts";
import type { EvaluationResults } from "@lib/evaluation/report.ts";
import { EMPATHY_DISCLAIMER } from "@lib/evaluation/rubric.ts";
import { runTask } from "@lib/tasks/cli.ts";
import { loadingBar, phaseBars } from "@lib/tasks/phase_bars.ts";
import { evaluateStep } from "@lib/workflow/evaluate.ts";
import { attachTunedLora, openModel, openTokenizer } from "@lib/workflow/model.ts";

const number = (value: number | null) => value === null ? "–" : value.toFixed(3);

/** A line a metric: base, tuned and their difference with its interval. */
function lines({ differences }: EvaluationResults): string[] {
  return METRIC_IDS.filter((id) => differences[id].n > 0).map((id) => {
    const { base, tuned, difference, low, high } = differences[id];
    const values = [base, tuned, difference].map((value) => number(value).padStart(11)).join("");
    return `${metricInfo(id).label.padEnd(24)}${values}  [${number(low)}, ${number(high)}]`;
  });
}

if (import.meta.main) {
  await runTask({
    name: "evaluate",
    summary: "Measures the answers of base and tuned: likelihood, overlap, empathy, intervals.",
    async run({ run, config, say, progress, signal }) {
      const tokenizer = await openTokenizer(config);
      const loading = loadingBar(progress);
      const model = await openModel(config, { onProgress: loading.onProgress, signal });
      await loading[Symbol.asyncDispose]();
      try {
        await attachTunedLora(model, run, config);
        await using bars = phaseBars(progress, "answers");
        const { onPhase } = bars;
        const { results } = await evaluateStep(run, config, model, tokenizer, {
          onProgress: (system, done, total) => onPhase(`${system}, likelihood`, done, total),
          onPhase,
          onNote: say,
          signal,
        });
        await bars[Symbol.asyncDispose]();
        const head = ["base", "tuned", "difference"].map((name) => name.padStart(11)).join("");
        say(`${`n = ${results.n}`.padEnd(24)}${head}  95 % interval of the difference`);
        for (const line of lines(results)) say(line);
        say(`Empathy: ${EMPATHY_DISCLAIMER}`);
        say(`results: ${run.evaluationResults}`);
        return { file: run.evaluationResults, n: results.n, differences: results.differences };
      } finally {
        await model.close();
      }
    },
  });
}
