/** A run's folder with everything that the steps leave in it, made in milliseconds. */
import { type Config, resolveConfig } from "@lib/config.ts";
import { evaluateAnswers } from "@lib/evaluation/evaluate.ts";
import { evaluationResults, saveEvaluationResults } from "@lib/evaluation/results.ts";
import { ExperimentLog } from "@lib/experiment/log.ts";
import { Run } from "@lib/experiment/run.ts";
import { saveJson } from "@lib/files.ts";
import { type AnswerRecord, loadTestResults, saveTestResults } from "@lib/workflow/generate.ts";

/** What distinguishes one run from another. */
export interface FixtureOptions {
  readonly set?: readonly string[];
  /** Rows of the test part. @default 0 to 9 */
  readonly rows?: readonly number[];
  /** Nats a token of the tuned model. @default {2} */
  readonly nll?: number;
  /** The tuned answer to a row. */
  readonly tuned?: (row: number) => string;
  /** Validation losses from step 0 on. @default {[5, 3, 2]} */
  readonly losses?: readonly number[];
}

export const ENVIRONMENT = {
  ...{ deno: "2.8.1", v8: "14", typescript: "5", os: "linux", arch: "x86_64", cpus: 2 },
  ...{ memory_bytes: 1e9, backend: "cpu", engine_version: "1", device: "a CPU", isa: "avx2" },
  ...{ threads: 2, commit: "0123456789abcdef" },
} as const;

const SITUATIONS = ["চাকরি", "পরীক্ষা", "বন্ধু", "মা", "বাড়ি", "ঘুম", "টাকা", "অফিস", "ভাই", "স্কুল"];
const about = (row: number) => SITUATIONS[row % SITUATIONS.length] ?? "";

/** The question of a row. */
export const questionOf = (row: number) => `${about(row)} নিয়ে খুব চিন্তায় আছি, রাতে ঘুম আসে না।`;
/** The reference of a row. */
export const referenceOf = (row: number) =>
  `${about(row)} নিয়ে আপনার চিন্তার কথা শুনে খারাপ লাগছে। চাইলে খুলে বলুন।`;

function answersOf({ rows = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], tuned }: FixtureOptions) {
  const answer = (row: number, system: "base" | "tuned", text: string): AnswerRecord => ({
    ...{ row, group: row, topic: "[চিন্তিত]", system, answer: text, tokens: 5, finish: "stop" },
    ...{ question: questionOf(row), reference: referenceOf(row), logprob: -1 },
  });
  return [
    ...rows.map((row) => answer(row, "base", "নদী বয়ে যায় <b>&</b> আকাশ নীল।")),
    ...rows.map((row) => answer(row, "tuned", (tuned ?? referenceOf)(row))),
  ];
}

async function saveLog(run: Run, config: Config, losses: readonly number[]): Promise<void> {
  using log = await ExperimentLog.open(run.newExperimentLog(new Date(Date.UTC(2026, 0, 1))));
  const steps = (losses.length - 1) * 2;
  log.append({
    ...{ event: "run_start", run: run.name, config, environment: ENVIRONMENT, seed: config.seed },
    ...{ total_steps: steps, resumed_from: 0, train_samples: 64, validation_samples: 8 },
    ...{ too_long: 1, prefix_tokens: 20, trainable_parameters: 1234 },
  });
  const validate = (step: number, loss: number) =>
    log.append({
      ...{ event: "validation", step, loss, perplexity: Math.exp(loss), target_tokens: 9 },
      seconds: 1,
    });
  validate(0, losses[0] ?? 0);
  for (let step = 1; step <= steps; step++) {
    log.append({
      ...{ event: "train", step, epoch: step / steps, loss: 5 / step, learning_rate: 1e-3 },
      ...{ grad_norm: 1, clipped: step === 1, target_tokens: 90, tokens: 200, seconds: step },
      ...{ tokens_per_second: 100, samples_per_second: 2, memory_bytes: 1e7 },
    });
    if (step % 2 === 0) validate(step, losses[step / 2] ?? 0);
  }
  log.append({ event: "run_end", reason: "finished", message: null, step: steps, seconds: 9 });
}

async function saveEvaluation(run: Run, config: Config, nll: number): Promise<void> {
  const { format: _, answers, ...context } = await loadTestResults(run);
  const evaluate = (system: "base" | "tuned") =>
    evaluateAnswers(
      answers.filter((one) => one.system === system).map((one) => ({
        ...{ id: one.row, group: one.group, question: one.question, reference: one.reference },
        ...{ hypothesis: one.answer, finish: one.finish },
        likelihood: {
          nll: (system === "base" ? 6 : nll) * 10,
          ...{ tokens: 10, textNll: (system === "base" ? 6 : nll) * 9 },
        },
      })),
      { draws: config.evaluation.bootstrap_draws },
    );
  const results = evaluationResults(context, evaluate("base"), evaluate("tuned"));
  await saveEvaluationResults(run.evaluationResults, results);
}

/** Makes a run in a folder. */
export async function makeRun(
  outputs: string,
  name: string,
  options: FixtureOptions = {},
): Promise<Run> {
  const run = await Run.open(name, outputs);
  const set = ["evaluation.bootstrap_draws=100", ...options.set ?? []];
  const config = resolveConfig({ profile: "tiny", set });
  await run.saveConfig(config);
  await saveJson(run.cleanReport, {
    ...{ source: "corpus.csv", mode: "strict", rawRows: 100, keptRows: 90 },
    dropped: { missing_answer: 7, exact_duplicate: 3, not_bengali: 0 },
  });
  const part = (rows: number) => ({ rows, groups: rows });
  await saveJson(run.splitReport, {
    ...{ seed: 42, rows: 90, groups: 90 },
    parts: { train: part(72), val: part(8), test: part(10) },
  });
  await saveLog(run, config, options.losses ?? [5, 3, 2]);
  await saveTestResults(run, config, answersOf(options));
  await saveEvaluation(run, config, options.nll ?? 2);
  return run;
}

/** Gives a test a folder for its runs, and takes it away. */
export async function withOutputs(body: (outputs: string) => Promise<void>): Promise<void> {
  const outputs = await Deno.makeTempDir();
  try {
    await body(outputs);
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
}
