/** What a run has done so far, read across the logs of its resumptions. */
import { loadLog, type LogEvent } from "@lib/experiment/log.ts";
import type { Run } from "@lib/experiment/run.ts";

/** Events that belong to a step. */
type StepEvent = Extract<LogEvent, { readonly step: number }>;

/** The newest training of a run. */
export interface TrainingHistory {
  /** The log that was written last. */
  readonly log: string;
  /** Every event of the last log. */
  readonly events: readonly LogEvent[];
  /** Optimiser steps and validations from step 0 on, resumed parts joined without overlap. */
  readonly steps: readonly Extract<LogEvent, { readonly event: "train" }>[];
  readonly validations: readonly Extract<LogEvent, { readonly event: "validation" }>[];
}

/**
 * Reads the newest training of a run back to its step 0. What an interrupted part did after the
 * checkpoint that the next one went on from is left out: it was done again.
 *
 * @throws {RunError} when 03_train has not run
 */
export async function loadTrainingHistory(run: Run): Promise<TrainingHistory> {
  const paths = await run.experimentLogs();
  const newest = paths.at(-1) ??
    await run.require(`${run.folder}/llama_empathy_experiments_*.jsonl`, TRAIN_STEP);
  const last = await loadLog(newest);
  const kept: StepEvent[] = [];
  let upTo = Infinity;
  for (const path of paths.toReversed()) {
    const { events } = await loadLog(path);
    kept.unshift(
      ...events.filter((event): event is StepEvent => "step" in event && event.step <= upTo),
    );
    const start = events.find((event) => event.event === "run_start");
    upTo = Math.min(upTo, start?.resumed_from ?? 0);
    if (upTo === 0) break;
  }
  return {
    log: newest,
    events: last.events,
    steps: kept.filter((event) => event.event === "train"),
    validations: kept.filter((event) => event.event === "validation"),
  };
}

const TRAIN_STEP = "03_train (deno task train)";
