/** A sweep's runs: trained, and answered and measured where that is asked for; what is done is kept. */
import { z } from "zod";
import { Config } from "@lib/config.ts";
import { loadEvaluationResults } from "@lib/evaluation/results.ts";
import { loadTrainingHistory } from "@lib/experiment/history.ts";
import { Run } from "@lib/experiment/run.ts";
import { changesData, type SweepPoint } from "@lib/experiment/sweep.ts";
import { exists, loadJson } from "@lib/files.ts";
import type { OnPhase } from "@lib/phases.ts";
import { contentHash } from "@lib/weights/hub/content_hash.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { evaluateStep } from "@lib/workflow/evaluate.ts";
import { answerRecords, saveTestResults, SYSTEMS, testRecords } from "@lib/workflow/generate.ts";
import { attachTunedLora, openModel, openTokenizer } from "@lib/workflow/model.ts";
import { splitStep } from "@lib/workflow/split.ts";
import { type TrainOptions, trainStep } from "@lib/workflow/train.ts";

/** How a sweep is run. */
export interface SweepOptions extends TrainOptions {
  /** Whether the test questions are answered and measured too, or only validation. @default {true} */
  readonly evaluate?: boolean;
  /** Called when a run begins, and with `done: true` when nothing is left to do in it. */
  readonly onRun?: (point: SweepPoint, place: number, done: boolean) => void;
  /** Told how far preparing, answering and measuring are. */
  readonly onPhase?: OnPhase | undefined;
}

/** What a run of a sweep came to. */
export interface SweepResult {
  readonly name: string;
  readonly settings: readonly string[];
  /** Whether it had been done before. */
  readonly kept: boolean;
  readonly steps: number;
  /** Nats a token; the lowest with early stopping, else the last. */
  readonly validation_loss: number | null;
  readonly validation_perplexity: number | null;
  readonly seconds: number;
  readonly trainable_parameters: number | null;
  /** chrF++ and empathy proxy of the tuned answers; null when they were not measured. */
  readonly chrf_pp: number | null;
  readonly empathy: number | null;
}

/** The files of 01_clean and 02_split. */
const dataFiles = (run: Run): string[] => [
  run.cleanRecords,
  run.droppedRows,
  run.cleanReport,
  run.split("train"),
  run.split("val"),
  run.split("test"),
  run.splitReport,
];

const hashOf = async (path: string) =>
  await exists(path) ? await contentHash(path, "sha256") : null;

/** Whether a run stands on the same three parts as another. */
async function sameParts(a: Run, b: Run): Promise<boolean> {
  for (const part of ["train", "val", "test"] as const) {
    if (await hashOf(a.split(part)) !== await hashOf(b.split(part))) return false;
  }
  return true;
}

/** Whether a run holds all that is asked for, made with this configuration on this data. */
async function isDone(
  run: Run,
  base: Run,
  point: SweepPoint,
  evaluate: boolean,
): Promise<boolean> {
  const wanted = [run.trainReport, ...evaluate ? [run.testResults, run.evaluationResults] : []];
  for (const path of [run.config, ...wanted]) if (!await exists(path)) return false;
  const made = Config.safeParse(await loadJson(run.config, "Delete it to train this run anew."));
  const same = JSON.stringify(made.data) === JSON.stringify(Config.parse(point.config));
  return same && (changesData(point) || await sameParts(run, base));
}

/** Gives a run its data: the base run's, or its own where a setting decides about rows. */
async function prepareData(
  run: Run,
  base: Run,
  point: SweepPoint,
  onPhase: OnPhase | undefined,
): Promise<void> {
  if (changesData(point)) {
    await cleanStep(run, point.config, await readCorpus(point.config), onPhase);
    await splitStep(run, point.config, onPhase);
    return;
  }
  await base.require(base.split("train"), "02_split (deno task split)");
  for (const from of dataFiles(base)) {
    if (await exists(from)) {
      await Deno.copyFile(from, `${run.folder}${from.slice(base.folder.length)}`);
    }
  }
}

/** Answers the test questions and measures everything. */
async function answerAndMeasure(
  run: Run,
  config: Config,
  { onPhase, signal }: SweepOptions,
): Promise<void> {
  const records = await testRecords(run, config);
  const tokenizer = await openTokenizer(config);
  const model = await openModel(config);
  try {
    await attachTunedLora(model, run, config);
    const answers = [];
    for (const system of SYSTEMS) {
      answers.push(
        ...await answerRecords(system, model, tokenizer, records, config, {
          onAnswer: (done) => onPhase?.(`${system}, answers`, done, records.length),
          ...signal === undefined ? {} : { signal },
        }),
      );
    }
    await saveTestResults(run, config, answers);
    await evaluateStep(run, config, model, tokenizer, {
      onProgress: (system, done, total) => onPhase?.(`${system}, likelihood`, done, total),
      onPhase,
      signal,
    });
  } finally {
    await model.close();
  }
}

/** What a sweep tells of `train_report.json`. */
const Report = z.looseObject({
  steps: z.number(),
  validation_loss: z.number().nullable(),
  validation_perplexity: z.number().nullable(),
  seconds: z.number(),
});

async function resultOf(run: Run, point: SweepPoint, kept: boolean): Promise<SweepResult> {
  const report = Report.parse(await loadJson(run.trainReport, "Run the sweep again."));
  const { events } = await loadTrainingHistory(run);
  const start = events.find((event) => event.event === "run_start");
  const measured = await exists(run.evaluationResults)
    ? (await loadEvaluationResults(run.evaluationResults)).systems.tuned.metrics
    : null;
  return {
    ...{ name: point.name, settings: point.settings, kept, steps: report.steps },
    validation_loss: report.validation_loss,
    validation_perplexity: report.validation_perplexity,
    seconds: report.seconds,
    trainable_parameters: start?.trainable_parameters ?? null,
    chrf_pp: measured?.chrf_pp.value ?? null,
    empathy: measured?.empathy.value ?? null,
  };
}

/**
 * Runs what is not done yet, one after another, and gives every run's result in order. Interrupted, it
 * goes on where it was: finished runs are kept, the one under way resumes from its checkpoint.
 *
 * @param base the run whose clean and split data the others share
 * @throws the signal's reason when it aborts
 */
export async function runSweep(
  base: Run,
  points: readonly SweepPoint[],
  options: SweepOptions = {},
): Promise<SweepResult[]> {
  const { evaluate = true, signal } = options;
  const outputs = base.folder.slice(0, -base.name.length - 1);
  const results: SweepResult[] = [];
  for (const [place, point] of points.entries()) {
    signal?.throwIfAborted();
    const run = await Run.open(point.name, outputs);
    const done = await isDone(run, base, point, evaluate);
    options.onRun?.(point, place, done);
    if (!done) {
      await prepareData(run, base, point, options.onPhase);
      await trainStep(run, point.config, options);
      if (evaluate) await answerAndMeasure(run, point.config, options);
    }
    results.push(await resultOf(run, point, done));
  }
  return results;
}
