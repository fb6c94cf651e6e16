/**
 * `deno task bench`: training throughput of the engine on this machine, and beside it, in the same run
 * and in turn, of transformers + PEFT when a Python that has them is given.
 */
import { z } from "zod";
import { resolveConfig } from "@lib/config.ts";
import type { Sample } from "@lib/chat/sample.ts";
import type { Model } from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import { Run } from "@lib/experiment/run.ts";
import { type OptionValues, parseOptions, reportFailure, type TaskOption } from "@lib/tasks/cli.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { packBatch, planMicroBatches } from "@lib/training/packing.ts";
import { epochSteps } from "@lib/training/train.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { openTrainingModel, type PreparedTraining, prepareTraining } from "@lib/workflow/train.ts";
import { modelFolder } from "@lib/workflow/model.ts";
import { splitStep } from "@lib/workflow/split.ts";

const OPTIONS = {
  python: { type: "string", value: "PATH", help: "Python with torch, transformers and peft" },
  steps: { type: "string", value: "N", help: "timed optimiser steps a round (default 6)" },
  rounds: { type: "string", value: "N", help: "rounds, taken in turn (default 3)" },
  threads: { type: "string", value: "N", help: "threads of both (default: all)" },
  set: { type: "string", multiple: true, value: "key=value", help: "one setting" },
  json: { type: "boolean", help: "print the figures as JSON" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

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

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

/** Times our own steps: accumulate over micro-batches, then AdamW. */
async function ours(
  model: Model,
  { data, plan }: PreparedTraining,
  steps: readonly Sample[][],
): Promise<Round> {
  await using trainer = await Trainer.create(model, plan.trainer);
  const limits = {
    maxTokens: plan.trainer.maxTokens,
    maxSequences: plan.trainer.maxSequences,
  };
  const seconds: number[] = [];
  let firstLoss = NaN;
  for (const [number, samples] of steps.entries()) {
    const begun = performance.now();
    for (const group of planMicroBatches(samples, data.prefixLength, limits)) {
      await trainer.accumulate(packBatch(group, data.prefixLength, "answer"));
    }
    const { loss } = await trainer.step(1e-3);
    if (number === 0) firstLoss = loss;
    if (number >= WARMUP) seconds.push((performance.now() - begun) / 1000);
  }
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

function number(values: OptionValues, name: string, fallback: number): number {
  const value = values[name];
  return typeof value === "string" ? Number(value) : fallback;
}

async function bench(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) {
    const rows = Object.entries(OPTIONS).map(([name, o]) => `  --${name.padEnd(10)} ${o.help}`);
    return console.log(`Measures training throughput.\n\n${rows.join("\n")}`);
  }
  const set = Array.isArray(values["set"]) ? values["set"] : [];
  const threads = number(values, "threads", navigator.hardwareConcurrency);
  const config = resolveConfig({ profile: "tiny", set: [`engine.threads=${threads}`, ...set] });
  const scratch = await Deno.makeTempDir();
  try {
    const run = await Run.open("bench", scratch);
    await cleanStep(run, config, await readCorpus(config));
    await splitStep(run, config);
    const prepared = await prepareTraining(run, config);
    const count = WARMUP + number(values, "steps", 6);
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
    const model = await openTrainingModel(config);
    const python = values["python"];
    for (let round = 0; round < number(values, "rounds", 3); round++) {
      const own = await ours(model, prepared, steps);
      mine.push(...rates(own));
      if (typeof python !== "string") continue;
      const other = await theirs(python, job);
      torch = other.torch;
      others.push(...rates(other));
      // The same work: before any step both must see the same loss, but for NF4 and dropout.
      if (round === 0 && Math.abs(own.firstLoss - other.firstLoss) > 0.1 * other.firstLoss) {
        throw new Error(`first losses differ: engine ${own.firstLoss}, PyTorch ${other.firstLoss}`);
      }
    }
    await model.close();
    const result = {
      samples_a_step: config.training.batch_size,
      threads,
      engine_tokens_per_second: median(mine),
      pytorch_tokens_per_second: others.length === 0 ? null : median(others),
      ratio: others.length === 0 ? null : median(mine) / median(others),
      torch,
    };
    if (values["json"] === true) return console.log(JSON.stringify(result, null, 2));
    console.log(
      "tokens a second, counted as if every sample were laid out alone, without padding; medians",
    );
    console.log(
      `engine (NF4, shared prefix):          ${result.engine_tokens_per_second.toFixed(0)}`,
    );
    if (result.ratio !== null) {
      console.log(
        `PyTorch ${torch} + PEFT (fp32 base):  ${result.pytorch_tokens_per_second?.toFixed(0)}`,
      );
      console.log(`ratio:                                ${result.ratio.toFixed(2)}`);
    }
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    await bench(Deno.args);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
