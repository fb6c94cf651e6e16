/** Training throughput on the tiny model and the sample corpus, beside PyTorch's on the same steps. */
import { z } from "zod";
import { resolveConfig } from "@lib/config.ts";
import { median } from "@lib/bench/row.ts";
import type { Sample } from "@lib/chat/sample.ts";
import type { Model } from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import { PROJECT_ROOT, Run } from "@lib/experiment/run.ts";
import { type OnPhase, type OnProgress, phaseOf } from "@lib/phases.ts";
import { packBatch, planMicroBatches } from "@lib/training/packing.ts";
import { epochSteps } from "@lib/training/train.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { modelFolder } from "@lib/workflow/model.ts";
import { splitStep } from "@lib/workflow/split.ts";
import { openTrainingModel, type PreparedTraining, prepareTraining } from "@lib/workflow/train.ts";

/** What to measure. */
export interface TinyBenchOptions {
  /** Python with torch, transformers and peft; null: ours alone. */
  readonly python: string | null;
  /** Timed optimiser steps a round. */
  readonly steps: number;
  /** Rounds, ours and PyTorch's in turn. */
  readonly rounds: number;
  /** Threads of both. */
  readonly threads: number;
  readonly set: readonly string[];
  /** Told how far preparing and each round are. */
  readonly onPhase?: OnPhase;
}

/** Tokens a second, counted as if every sample were laid out alone, without padding; medians. */
export interface TinyBenchResult {
  readonly samples_a_step: number;
  readonly threads: number;
  readonly engine_tokens_per_second: number;
  readonly pytorch_tokens_per_second: number | null;
  readonly ratio: number | null;
  readonly torch: string;
}

/** Steps before the clock starts, for both. */
const WARMUP = 2;

/** What one round of one stack took. */
interface Round {
  /** Per timed optimiser step. */
  readonly seconds: readonly number[];
  readonly firstLoss: number;
}

const PythonResult = z.object({
  seconds: z.array(z.number()),
  losses: z.array(z.number()),
  torch: z.string(),
});

/** Times our own steps: accumulate over micro-batches, then AdamW. */
async function ours(
  model: Model,
  { data, plan }: PreparedTraining,
  steps: readonly Sample[][],
  onProgress: OnProgress | undefined,
): Promise<Round> {
  await using trainer = await Trainer.create(model, plan.trainer);
  const limits = {
    maxTokens: plan.trainer.maxTokens,
    maxSequences: plan.trainer.maxSequences,
  };
  const seconds: number[] = [];
  let firstLoss = NaN;
  for (const [number, samples] of steps.entries()) {
    onProgress?.(number, steps.length);
    const begun = performance.now();
    for (const group of planMicroBatches(samples, data.prefixLength, limits)) {
      await trainer.accumulate(packBatch(group, data.prefixLength, "answer"));
    }
    const { loss } = await trainer.step(1e-3);
    if (number === 0) firstLoss = loss;
    if (number >= WARMUP) seconds.push((performance.now() - begun) / 1000);
  }
  onProgress?.(steps.length, steps.length);
  return { seconds, firstLoss };
}

/** The same steps by PyTorch in a process of its own. */
async function theirs(python: string, job: string): Promise<Round & { torch: string }> {
  const { success, stdout, stderr } = await new Deno.Command(python, {
    args: [`${PROJECT_ROOT}tests/bench/pytorch_cpu.py`, job],
  }).output();
  const text = new TextDecoder();
  if (!success) throw new Error(`${python} failed:\n${text.decode(stderr).slice(-2000)}`);
  const last = text.decode(stdout).trim().split("\n").at(-1) ?? "";
  const result = PythonResult.parse(JSON.parse(last));
  return { seconds: result.seconds, firstLoss: result.losses[0] ?? NaN, torch: result.torch };
}

/** Measures it. @throws {Error} PyTorch fails, or sees another loss on the same step */
export async function runTinyBench(options: TinyBenchOptions): Promise<TinyBenchResult> {
  const { python, threads, set, onPhase } = options;
  const config = resolveConfig({ profile: "tiny", set: [`engine.threads=${threads}`, ...set] });
  const scratch = await Deno.makeTempDir();
  try {
    const run = await Run.open("bench", scratch);
    await cleanStep(run, config, await readCorpus(config), onPhase);
    await splitStep(run, config, onPhase);
    const prepared = await prepareTraining(run, config, onPhase);
    const count = WARMUP + options.steps;
    const steps = epochSteps(prepared.data.train.samples, config, 0).slice(0, count);
    const job = `${scratch}/job.json`;
    await Deno.writeTextFile(
      job,
      JSON.stringify({
        model: await modelFolder(config),
        threads,
        r: config.lora.r,
        alpha: config.lora.alpha,
        dropout: config.lora.dropout,
        learning_rate: 1e-3,
        max_grad_norm: config.training.max_grad_norm,
        warmup_steps: WARMUP,
        steps: steps.map((group) =>
          group.map((s) => ({ tokens: [...s.tokens], answer_start: s.answerStart }))
        ),
      }),
    );
    const tokens = steps.slice(WARMUP).map((g) => g.reduce((n, s) => n + s.tokens.length, 0));
    const rates = (round: Round) => round.seconds.map((s, i) => (tokens[i] ?? 0) / s);
    const mine: number[] = [];
    const others: number[] = [];
    let torch = "";
    const model = await openTrainingModel(config, prepared.plan);
    for (let round = 0; round < options.rounds; round++) {
      const phase = `round ${round + 1}/${options.rounds}`;
      const own = await ours(model, prepared, steps, phaseOf(onPhase, `engine, ${phase}`, "steps"));
      mine.push(...rates(own));
      if (python === null) continue;
      const waiting = phaseOf(onPhase, `PyTorch, ${phase}`, "steps");
      waiting?.(0, steps.length);
      const other = await theirs(python, job);
      waiting?.(steps.length, steps.length);
      torch = other.torch;
      others.push(...rates(other));
      // The same work: before any step both must see the same loss, but for NF4 and dropout.
      if (round === 0 && Math.abs(own.firstLoss - other.firstLoss) > 0.1 * other.firstLoss) {
        throw new Error(`first losses differ: engine ${own.firstLoss}, PyTorch ${other.firstLoss}`);
      }
    }
    await model.close();
    return {
      samples_a_step: config.training.batch_size,
      threads,
      engine_tokens_per_second: median(mine),
      pytorch_tokens_per_second: others.length === 0 ? null : median(others),
      ratio: others.length === 0 ? null : median(mine) / median(others),
      torch,
    };
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}
