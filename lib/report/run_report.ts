/**
 * One self-contained HTML page a run: what came out, what it says, how it trained, on what data, with
 * which settings, on which machine. Needs no network.
 */
import type { EvaluationResults } from "@lib/evaluation/report.ts";
import { loadEvaluationResults } from "@lib/evaluation/results.ts";
import { loadTrainingHistory, type TrainingHistory } from "@lib/experiment/history.ts";
import { type Run, RunError } from "@lib/experiment/run.ts";
import { exists, loadJson, writeFileAtomic } from "@lib/files.ts";
import { loadTestResults } from "@lib/workflow/generate.ts";
import { type Markup, markup } from "./markup.ts";
import { renderPage, type Section } from "./page.ts";
import { answersSection, gatesSection } from "./run/answers_section.ts";
import { dataSection } from "./run/data_section.ts";
import { guardrailsSection } from "./run/guardrails_section.ts";
import { filesSection } from "./run/files_section.ts";
import { plotsSection } from "./run/plots_section.ts";
import { resultsSection } from "./run/results_section.ts";
import { configSection, environmentSection } from "./run/setting_section.ts";
import { trainingSection } from "./run/training_section.ts";
import { formatInterval, formatValue } from "./text_table.ts";

/** What a run's folder holds, read once. */
interface RunContents {
  readonly results: EvaluationResults | null;
  readonly history: TrainingHistory | null;
}

const readOptional = async (path: string): Promise<unknown> =>
  await exists(path) ? await loadJson(path, "Run the step that writes it again.") : null;

async function contentsOf(run: Run): Promise<RunContents> {
  const trained = (await run.experimentLogs()).length > 0;
  return {
    results: await exists(run.evaluationResults)
      ? await loadEvaluationResults(run.evaluationResults)
      : null,
    history: trained ? await loadTrainingHistory(run) : null,
  };
}

function lead({ results, history }: RunContents): Markup {
  const start = history?.events.find((event) => event.event === "run_start");
  const facts: [string, string][] = [];
  if (results !== null) {
    for (const [name, id] of [["Perplexity", "perplexity"], ["chrF++", "chrf_pp"]] as const) {
      const { base, tuned } = results.differences[id];
      facts.push([name, `${formatValue(base)} → ${formatValue(tuned)}`]);
    }
    const { difference: value, low, high } = results.differences.empathy;
    facts.push(["Empathy (proxy), tuned − base", formatInterval({ value, low, high })]);
    facts.push(["Held-out answers", `${results.n} in ${results.groups} groups`]);
  }
  if (start !== undefined) {
    facts.push(["Base model", start.config.model.base]);
    facts.push(["Trained", `${start.time.slice(0, 16).replace("T", " ")} UTC`]);
  }
  return markup`<p>Fine-tuning a Llama into a Bengali empathetic counsellor. Not a medical device, not
clinically validated; the empathy score is an automatic proxy.</p>
${
    facts.length === 0 ? null : markup`<ul class="facts">${
      facts.map(([name, value]) =>
        markup`
<li>${name}<strong>${value}</strong></li>`
      )
    }
</ul>`
  }`;
}

async function sectionsOf(run: Run, { results, history }: RunContents): Promise<Section[]> {
  const config = await run.loadConfig();
  const test = await exists(run.testResults) ? await loadTestResults(run) : null;
  const start = history?.events.find((event) => event.event === "run_start");
  const sections = [
    results === null ? null : resultsSection(results),
    test === null ? null : answersSection(test, results),
    results === null ? null : gatesSection(results),
    guardrailsSection(test, await readOptional(`${run.folder}/batch_results.json`)),
    history === null ? null : trainingSection(history),
    dataSection(await readOptional(run.cleanReport), await readOptional(run.splitReport)),
    config === null ? null : configSection(config),
    start === undefined ? null : environmentSection(start.environment),
    await filesSection(run, config),
    await plotsSection(run),
  ];
  return sections.filter((section) => section !== null);
}

/**
 * Writes `report.html` from what the run's folder holds; steps that have not run are left out.
 *
 * @returns its path
 * @throws {RunError} a run without anything to report
 */
export async function writeReport(run: Run): Promise<string> {
  const contents = await contentsOf(run);
  const sections = await sectionsOf(run, contents);
  if (sections.length === 0) {
    throw new RunError(
      `Run '${run.name}': expected the output of at least one step, found none. ` +
        "Run 01_clean (deno task clean) first, or give the run that has it.",
    );
  }
  await writeFileAtomic(run.report, renderPage(`Run ${run.name}`, lead(contents), sections));
  return run.report;
}
