/**
 * Runs side by side: curves, what was set differently, and metrics on the rows that all answered.
 *
 * @module
 */
import { type OnPhase, phaseOf } from "@lib/phases.ts";
import { BOOTSTRAP_DRAWS, BOOTSTRAP_SEED, type DrawOptions } from "@lib/evaluation/bootstrap.ts";
import { evaluateAnswers, type Evaluation } from "@lib/evaluation/evaluate.ts";
import { forEachMetric } from "@lib/evaluation/metric_ids.ts";
import type { ItemLikelihood } from "@lib/evaluation/perplexity.ts";
import { type SystemDifferences, systemDifferences } from "@lib/evaluation/score.ts";
import type { ItemSimilarity } from "@lib/evaluation/semantic.ts";
import type { EvaluationItem } from "@lib/evaluation/scored_item.ts";
import { RunError } from "@lib/experiment/run.ts";
import type { RunRecord } from "@lib/experiment/run_record.ts";
import { type Differing, differingSettings } from "@lib/report/differences.ts";
import type { AnswerRecord, SystemName } from "@lib/workflow/generate.ts";

/** What is compared. */
export interface CompareOptions extends DrawOptions {
  /** Whose answers. @default {"tuned"} */
  readonly system?: SystemName;
  /** Told which runs are being compared, and how far that is. */
  readonly onPhase?: OnPhase | undefined;
}

/** A run's curves and where it ended. */
export interface RunCurves {
  readonly name: string;
  readonly steps: readonly number[];
  readonly loss: readonly number[];
  readonly validation_steps: readonly number[];
  readonly validation_loss: readonly number[];
  /** Lowest validation loss, nats a token; null without validation. */
  readonly best_validation_loss: number | null;
  /** Seconds from the start, or from the last resumption, to the last step; null without steps. */
  readonly seconds: number | null;
}

/** Another run against the first. */
export interface RunPair extends SystemDifferences {
  /** Rows that both answered: same question, same reference. */
  readonly rows: number;
  /** Rows that each answered. */
  readonly answered: readonly [number, number];
  /** What keeps numbers from being compared. */
  readonly notes: readonly string[];
}

/** The comparison. */
export interface RunComparison {
  readonly format: 1;
  readonly runs: readonly string[];
  readonly system: SystemName;
  readonly curves: readonly RunCurves[];
  readonly config_differences: readonly Differing[];
  readonly environment_differences: readonly Differing[];
  /** Each further run against the first; without those that have no answers. */
  readonly pairs: readonly RunPair[];
  /** Runs that were not compared metric by metric, and why. */
  readonly notes: readonly string[];
}

function curvesOf({ name, history }: RunRecord): RunCurves {
  const steps = history?.steps ?? [];
  const validations = history?.validations ?? [];
  const losses = validations.map(({ loss }) => loss);
  return {
    name,
    steps: steps.map(({ step }) => step),
    loss: steps.map(({ loss }) => loss),
    validation_steps: validations.map(({ step }) => step),
    validation_loss: losses,
    best_validation_loss: losses.length === 0 ? null : Math.min(...losses),
    seconds: steps.at(-1)?.seconds ?? null,
  };
}

const answersOf = (record: RunRecord, system: SystemName): readonly AnswerRecord[] =>
  (record.answers?.answers ?? []).filter((answer) => answer.system === system);

/** Likelihoods by row, as the evaluation left them. */
function likelihoodsOf({ results }: RunRecord, system: SystemName): Map<unknown, ItemLikelihood> {
  const items = results?.systems[system].items ?? [];
  return new Map(items.map(({ id, nll, tokens, text_nll }) => [
    id,
    nll === null || tokens === null || text_nll === null
      ? null
      : { nll, tokens, textNll: text_nll },
  ]));
}

/** Semantic similarities by row, as the evaluation left them. */
function similaritiesOf({ results }: RunRecord, system: SystemName): Map<unknown, ItemSimilarity> {
  const items = results?.systems[system].items ?? [];
  return new Map(
    items.flatMap(({ id, semantic, semantic_floor: floor }) =>
      semantic === null ? [] : [[id, { reference: semantic, floor }]]
    ),
  );
}

/** Items of both runs over the rows they share, groups as the first has them. */
function sharedItems(a: RunRecord, b: RunRecord, system: SystemName) {
  const others = new Map(answersOf(b, system).map((answer) => [answer.row, answer]));
  const [before, after] = [likelihoodsOf(a, system), likelihoodsOf(b, system)];
  const sameEncoder = a.results?.signatures.semantic === b.results?.signatures.semantic;
  const [nearA, nearB] = [similaritiesOf(a, system), similaritiesOf(b, system)];
  const first: EvaluationItem[] = [];
  const second: EvaluationItem[] = [];
  for (const one of answersOf(a, system)) {
    const other = others.get(one.row);
    if (other?.question !== one.question || other.reference !== one.reference) continue;
    const shared = {
      ...{ id: one.row, group: one.group, question: one.question, reference: one.reference },
    };
    // A likelihood counts only where both runs have it.
    const [x, y] = [before.get(one.row) ?? null, after.get(one.row) ?? null];
    const both = x !== null && y !== null;
    const comparable = sameEncoder && nearA.has(one.row) && nearB.has(one.row);
    const item = (
      answer: AnswerRecord,
      likelihood: ItemLikelihood,
      near: Map<unknown, ItemSimilarity>,
    ): EvaluationItem => ({
      ...shared,
      hypothesis: answer.answer,
      finish: answer.finish,
      likelihood: both ? likelihood : null,
      similarity: comparable ? near.get(one.row) ?? null : null,
    });
    first.push(item(one, x, nearA));
    second.push(item(other, y, nearB));
  }
  return { first, second };
}

/** Perplexities of different tokenizers are not one quantity. */
function withoutPerplexity(differences: SystemDifferences): SystemDifferences {
  const nothing = { difference: null, low: null, high: null, p_value: null };
  const metrics = forEachMetric((id) =>
    id === "perplexity" ? { ...differences.metrics[id], ...nothing } : differences.metrics[id]
  );
  return { ...differences, metrics };
}

function comparePair(a: RunRecord, b: RunRecord, options: CompareOptions): RunPair | string {
  const { system = "tuned", draws = BOOTSTRAP_DRAWS, seed = BOOTSTRAP_SEED } = options;
  const answered = [answersOf(a, system).length, answersOf(b, system).length] as const;
  const { first, second } = sharedItems(a, b, system);
  if (first.length === 0) {
    return `${a.name} and ${b.name} share no answered row (${answered.join(" and ")} answers): ` +
      "run 04_generate (deno task generate) in both, on one split.";
  }
  const evaluate = (name: string, items: readonly EvaluationItem[]): Evaluation => {
    const onProgress = phaseOf(options.onPhase, `scoring ${name}`);
    return evaluateAnswers(items, { draws, seed, onProgress });
  };
  const [before, after] = [evaluate(a.name, first), evaluate(b.name, second)];
  const comparing = phaseOf(options.onPhase, `comparing ${b.name}`, "metrics");
  const found = systemDifferences(a.name, b.name, before, after, comparing);
  const sameModel = a.answers?.base_model === b.answers?.base_model;
  const likely = found.metrics.perplexity.n;
  return {
    ...sameModel ? found : withoutPerplexity(found),
    rows: first.length,
    answered,
    notes: [
      ...sameModel ? [] : ["Different base models: perplexity is not compared, bits per byte is."],
      ...likely === first.length ? [] : [
        `Likelihoods on ${likely} of ${first.length} rows: run 05_metrics (deno task evaluate) in both.`,
      ],
    ],
  };
}

/**
 * Compares runs; the first is the baseline. Metrics are compared on the rows that both answered, on
 * the same draws.
 *
 * @throws {RunError} fewer than two runs, or one of them twice
 */
export function compareRuns(
  records: readonly RunRecord[],
  options: CompareOptions = {},
): RunComparison {
  const names = records.map(({ name }) => name);
  const [first, ...rest] = records;
  if (first === undefined || rest.length === 0 || new Set(names).size < names.length) {
    throw new RunError(
      `Expected at least two different runs to compare, found ${names.join(", ") || "none"}.`,
    );
  }
  const pairs = rest.map((record) => comparePair(first, record, options));
  const environments = records.flatMap(({ environment }) => environment ?? []);
  return {
    format: 1,
    runs: names,
    system: options.system ?? "tuned",
    curves: records.map(curvesOf),
    config_differences: differingSettings(records.map(({ config }) => config)),
    environment_differences: environments.length === records.length
      ? differingSettings(environments)
      : [],
    pairs: pairs.filter((pair) => typeof pair !== "string"),
    notes: pairs.filter((pair) => typeof pair === "string"),
  };
}
