/** What a run has left behind, read once for comparisons. */
import type { Config } from "@lib/config.ts";
import type { EvaluationResults } from "@lib/evaluation/report.ts";
import { loadEvaluationResults } from "@lib/evaluation/results.ts";
import type { Environment } from "@lib/experiment/environment.ts";
import { loadTrainingHistory, type TrainingHistory } from "@lib/experiment/history.ts";
import { type Run, RunError } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { loadTestResults, type TestResults } from "@lib/workflow/generate.ts";

/** A run's record; null where a step has not run. */
export interface RunRecord {
  readonly name: string;
  readonly config: Config;
  readonly environment: Environment | null;
  readonly history: TrainingHistory | null;
  readonly answers: TestResults | null;
  readonly results: EvaluationResults | null;
}

/** Reads a run. @throws {RunError} a run without a configuration */
export async function loadRunRecord(run: Run): Promise<RunRecord> {
  const config = await run.loadConfig();
  if (config === null) {
    throw new RunError(
      `${run.config}: expected a configuration, found nothing. Run 01_clean (deno task clean) first.`,
    );
  }
  const trained = (await run.experimentLogs()).length > 0;
  const history = trained ? await loadTrainingHistory(run) : null;
  const start = history?.events.find((event) => event.event === "run_start");
  return {
    name: run.name,
    config,
    environment: start?.environment ?? null,
    history,
    answers: await exists(run.testResults) ? await loadTestResults(run) : null,
    results: await exists(run.evaluationResults)
      ? await loadEvaluationResults(run.evaluationResults)
      : null,
  };
}
