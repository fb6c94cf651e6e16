/** Step 5, notebook 05_metrics and `deno task evaluate`: likelihoods and all metrics of both systems. */
import { type OnPhase, phaseOf } from "@lib/phases.ts";
import { encodeSamples } from "@lib/chat/sample.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";
import type { Config } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { evaluateAnswers, type Evaluation, type EvaluationItem } from "@lib/evaluation/mod.ts";
import { measureLikelihood, type SampleLikelihood } from "@lib/evaluation/likelihood.ts";
import type { EvaluationResults } from "@lib/evaluation/report.ts";
import { evaluationResults, saveEvaluationResults } from "@lib/evaluation/results.ts";
import {
  type ItemSimilarity,
  measureSimilarity,
  similaritySignature,
} from "@lib/evaluation/semantic.ts";
import { empathyLexicon } from "@lib/evaluation/empathy_lexicon.ts";
import { type Run, RunError } from "@lib/experiment/run.ts";
import { loadSplit, toConversation } from "@lib/training/data.ts";
import {
  loadTestResults,
  type SystemName,
  SYSTEMS,
  type TestResults,
} from "@lib/workflow/generate.ts";
import { findEncoder } from "@lib/workflow/semantic.ts";

/** Likelihoods of the reference answers under one system, by row of the corpus. */
export type Likelihoods = ReadonlyMap<number, SampleLikelihood>;

/** Progress and interruption of the measurement. */
export interface MeasureOptions {
  /** Called with the number of reference answers done, and of all. */
  readonly onProgress?: (system: SystemName, done: number, total: number) => void;
  /** Told which system is being scored, and how far that is. */
  readonly onPhase?: OnPhase | undefined;
  /** Called with what a person should know, such as a metric that could not be measured. */
  readonly onNote?: (note: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** What the step gives and writes. */
export interface EvaluateStep {
  readonly answers: TestResults;
  readonly likelihoods: Readonly<Record<SystemName, Likelihoods>>;
  readonly systems: Readonly<Record<SystemName, Evaluation>>;
  readonly results: EvaluationResults;
}

/**
 * Reads the answers and checks that they belong to this configuration: metrics of one model beside
 * likelihoods of another would mislead.
 *
 * @throws {RunError} no answers, or answers of another base model or quantisation
 */
export async function loadMatchingAnswers(run: Run, config: Config): Promise<TestResults> {
  const answers = await loadTestResults(run);
  const differing = ([
    ["model.base", answers.base_model, config.model.base],
    ["model.quantization", answers.quantization, config.model.quantization],
  ] as const).find(([, made, asked]) => made !== asked);
  if (differing === undefined) return answers;
  const [key, made, asked] = differing;
  throw new RunError(
    `${run.testResults}: expected answers made with ${key} '${asked}', as configured, found '${made}'. ` +
      "Run 04_generate (deno task generate) again, or configure what the answers were made with.",
  );
}

/**
 * Measures the reference answers of the answered questions under both systems, the same prompt as
 * when answering. References longer than `training.max_sequence_tokens` are left out.
 *
 * @param model with the tuned adapter attached; it is on afterwards
 */
export async function measureReferences(
  run: Run,
  config: Config,
  answers: TestResults,
  model: Model,
  tokenizer: Tokenizer,
  options: MeasureOptions = {},
): Promise<Record<SystemName, Likelihoods>> {
  const rows = new Set(answers.answers.map(({ row }) => row));
  const records = (await loadSplit(run, "test")).filter(({ row }) => rows.has(row));
  const { samples } = encodeSamples(
    tokenizer,
    answers.system_prompt,
    records.map((record) => toConversation(record, config)),
    config.training.max_sequence_tokens,
  );
  const measure = async (system: SystemName): Promise<Likelihoods> => {
    await model.enableLora(system === "tuned");
    const measured = await measureLikelihood(model, samples, {
      signal: options.signal,
      onProgress: (done) => options.onProgress?.(system, done, samples.length),
    });
    return new Map(measured.map((one) => [one.id, one]));
  };
  try {
    return { base: await measure("base"), tuned: await measure("tuned") };
  } finally {
    await model.enableLora(true);
  }
}

/** Semantic similarities of both systems' answers, in their order. */
export interface Similarities {
  readonly systems: Readonly<Record<SystemName, readonly ItemSimilarity[]>>;
  readonly signature: string;
}

/**
 * Measures semantic similarity where a sentence encoder is on this machine.
 *
 * @returns null where there is none; `onNote` then says how to get one
 * @throws {EncoderError} when the encoder that is here cannot run
 */
export async function measureAnswers(
  config: Config,
  answers: TestResults,
  options: MeasureOptions = {},
): Promise<Similarities | null> {
  const found = await findEncoder(config);
  if (found.encoder === null) {
    options.onNote?.(found.reason);
    return null;
  }
  const of = (system: SystemName) => answers.answers.filter((one) => one.system === system);
  const measured = await measureSimilarity(found.encoder, {
    answers: new Map(SYSTEMS.map((system) => [system, of(system).map(({ answer }) => answer)])),
    references: of("base").map(({ reference }) => reference),
    groups: of("base").map(({ group }) => group),
  }, {
    signal: options.signal,
    onProgress: phaseOf(options.onPhase, "semantic similarity", "texts"),
  });
  return {
    systems: { base: measured.get("base") ?? [], tuned: measured.get("tuned") ?? [] },
    signature: similaritySignature(found.encoder),
  };
}

/** One system's answers as the metrics take them. */
export function evaluationItems(
  answers: TestResults,
  system: SystemName,
  likelihoods: Likelihoods,
  similarities: readonly ItemSimilarity[] = [],
): EvaluationItem[] {
  return answers.answers.filter((answer) => answer.system === system).map((answer, i) => ({
    id: answer.row,
    group: answer.group,
    question: answer.question,
    reference: answer.reference,
    hypothesis: answer.answer,
    finish: answer.finish,
    likelihood: likelihoods.get(answer.row) ?? null,
    similarity: similarities[i] ?? null,
  }));
}

/**
 * Measures likelihoods, computes every metric with its interval and writes `evaluation_results.json`.
 *
 * @param model with the tuned adapter attached
 * @throws {RunError} when 04_generate has not run, or ran with another model
 */
export async function evaluateStep(
  run: Run,
  config: Config,
  model: Model,
  tokenizer: Tokenizer,
  options: MeasureOptions = {},
): Promise<EvaluateStep> {
  const answers = await loadMatchingAnswers(run, config);
  const likelihoods = await measureReferences(run, config, answers, model, tokenizer, options);
  const similarities = await measureAnswers(config, answers, options);
  const evaluate = (system: SystemName): Evaluation => {
    const similar = similarities?.systems[system];
    return evaluateAnswers(evaluationItems(answers, system, likelihoods[system], similar), {
      draws: config.evaluation.bootstrap_draws,
      seed: config.evaluation.bootstrap_seed,
      onProgress: phaseOf(options.onPhase, `scoring ${system}`),
    });
  };
  const systems = { base: evaluate("base"), tuned: evaluate("tuned") };
  options.signal?.throwIfAborted();
  const { format: _, answers: __, ...context } = answers;
  const results = evaluationResults(
    context,
    systems.base,
    systems.tuned,
    empathyLexicon(),
    similarities?.signature ?? null,
    phaseOf(options.onPhase, "comparing tuned with base", "metrics"),
  );
  await saveEvaluationResults(run.evaluationResults, results);
  return { answers, likelihoods, systems, results };
}
