/** The training loop: steps, validation, log, checkpoints, resumption. */
import type { Sample } from "@lib/chat/sample.ts";
import type { Config } from "@lib/config.ts";
import { seededRandom, shuffled } from "@lib/random.ts";
import { adapterParameters } from "@lib/engine/architecture.ts";
import type { Model } from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import { meanLikelihood, measureLikelihood } from "@lib/evaluation/likelihood.ts";
import { describeEnvironment } from "@lib/experiment/environment.ts";
import { loadTrainingHistory } from "@lib/experiment/history.ts";
import { ExperimentLog, type LogEvent, type NewLogEvent } from "@lib/experiment/log.ts";
import type { Run } from "@lib/experiment/run.ts";
import { saveJson } from "@lib/files.ts";
import {
  type Checkpoint,
  findCheckpoint,
  restoreAdapter,
  restoreOptimizer,
  saveCheckpoint,
  setCheckpointsAside,
} from "@lib/training/checkpoint.ts";
import type { TrainingData } from "@lib/training/data.ts";
import {
  afterValidation,
  isExhausted,
  NO_PROGRESS,
  type Progress,
} from "@lib/training/early_stopping.ts";
import { fingerprint } from "@lib/training/fingerprint.ts";
import { packBatch, planMicroBatches } from "@lib/training/packing.ts";
import type { OnProgress } from "@lib/phases.ts";
import type { TrainingPlan } from "@lib/training/plan.ts";
import { learningRate, makeSchedule, type Schedule } from "@lib/training/schedule.ts";
import { saveAdapter } from "@lib/weights/adapter.ts";

/** What a run is made of. */
export interface TrainingRun {
  readonly run: Run;
  readonly config: Config;
  readonly model: Model;
  readonly data: TrainingData;
  readonly plan: TrainingPlan;
  /** Told how many samples of a validation are measured. */
  readonly onValidation?: OnProgress | undefined;
}

/** Summary of a finished run, also in `train_report.json`. */
export interface TrainReport {
  readonly steps: number;
  readonly resumed_from: number;
  readonly first_loss: number | null;
  readonly last_loss: number | null;
  readonly validation_loss: number | null;
  readonly validation_perplexity: number | null;
  /** Step of the adapter that was kept, with early stopping; else null: the last. */
  readonly best_step: number | null;
  readonly seconds: number;
  /** Median over the steps. */
  readonly tokens_per_second: number | null;
  readonly peak_memory_bytes: number;
  readonly adapter: string;
  readonly log: string;
}

/**
 * Samples of each optimiser step of one epoch.
 *
 * @param epoch from 0; decides the order with the seed
 */
export function epochSteps(samples: readonly Sample[], config: Config, epoch: number): Sample[][] {
  const random = seededRandom(config.seed * 1_000_003 + epoch);
  const order = config.training.shuffle ? shuffled(random, samples) : [...samples];
  const size = config.training.batch_size;
  return Array.from(
    { length: Math.ceil(order.length / size) },
    (_, i) => order.slice(i * size, (i + 1) * size),
  );
}

/**
 * Trains, yielding every log event as it is written.
 *
 * A checkpoint of the same run is resumed or, with `training.on_rerun: "restart"`, set aside. When
 * the signal aborts, the last completed step is checkpointed and the signal's reason thrown. With
 * `training.patience` the adapter of the best validation is saved as it comes and is the final one.
 *
 * @throws {EngineError | FileWriteError} the last checkpoint stays whole
 */
export async function* train(
  training: TrainingRun,
  signal?: AbortSignal,
): AsyncGenerator<LogEvent, TrainReport> {
  const session = await Session.open(training);
  try {
    yield* session.start();
    while (session.step < training.plan.totalSteps && !session.exhausted) {
      signal?.throwIfAborted();
      yield* session.advance(signal);
    }
    yield* session.finish();
    return session.report();
  } catch (error) {
    await session.stop(signal?.aborted === true ? "interrupted" : "failed", error);
    throw error;
  } finally {
    await session.close();
  }
}

/** State of one run of the loop. */
class Session {
  step = 0;
  #savedStep = 0;
  #ended = false;
  #steps: Sample[][] = [];
  #epoch = -1;
  #firstLoss: number | null = null;
  #lastLoss: number | null = null;
  #validation: { step: number; loss: number; perplexity: number } | null = null;
  #progress: Progress;
  #peakMemory = 0;
  readonly #rates: number[] = [];
  readonly #begun = performance.now();
  readonly #schedule: Schedule;

  private constructor(
    readonly training: TrainingRun,
    readonly trainer: Trainer,
    readonly log: ExperimentLog,
    readonly print: string,
    readonly resumedFrom: number,
    progress: Progress,
  ) {
    this.step = this.#savedStep = resumedFrom;
    this.#progress = progress;
    this.#schedule = makeSchedule(training.config.training, training.plan.totalSteps);
  }

  static async open(training: TrainingRun): Promise<Session> {
    const { run, config, model, plan } = training;
    const print = await fingerprint(training);
    const checkpoint = await resumable(run, config, print);
    if (checkpoint !== null) await restoreAdapter(checkpoint, model, plan.lora.dropout);
    const trainer = await Trainer.create(model, plan.trainer);
    try {
      if (checkpoint !== null) await restoreOptimizer(checkpoint, trainer);
      const step = checkpoint?.state.step ?? 0;
      const progress = await progressUpTo(run, config, step);
      const log = await ExperimentLog.open(run.newExperimentLog(new Date()));
      return new Session(training, trainer, log, print, step, progress);
    } catch (error) {
      await trainer.close();
      throw error;
    }
  }

  /** Whether validation has not improved for as long as `training.patience` allows. */
  get exhausted(): boolean {
    return isExhausted(this.#progress, this.training.config.training.patience);
  }

  get #seconds(): number {
    return (performance.now() - this.#begun) / 1000;
  }

  *#write(event: NewLogEvent): Generator<LogEvent> {
    yield this.log.append(event);
  }

  async *start(): AsyncGenerator<LogEvent> {
    const { run, config, data, plan, model } = this.training;
    yield* this.#write({
      event: "run_start",
      run: run.name,
      config,
      environment: await describeEnvironment(model.library),
      seed: config.seed,
      total_steps: plan.totalSteps,
      resumed_from: this.resumedFrom,
      train_samples: data.train.samples.length,
      validation_samples: data.validation.samples.length,
      too_long: data.train.tooLong.length,
      prefix_tokens: data.prefixLength,
      trainable_parameters: adapterParameters(model.architecture, plan.lora),
    });
    if (this.step === 0 || this.#owesValidation()) yield* this.validate();
  }

  /** With early stopping: whether the run was interrupted before the validation of its last step. */
  #owesValidation(): boolean {
    const { config, plan } = this.training;
    return config.training.patience !== null && this.step % plan.evalEvery === 0 &&
      this.#progress.last < this.step;
  }

  /** One optimiser step, with validation and checkpoint when due. */
  async *advance(signal?: AbortSignal): AsyncGenerator<LogEvent> {
    const { config, data, plan, model } = this.training;
    const begun = performance.now();
    const samples = this.#samplesOf(this.step);
    let tokens = 0;
    for (const group of planMicroBatches(samples, data.prefixLength, plan.trainer)) {
      const batch = packBatch(group, data.prefixLength, config.training.loss_on);
      await this.trainer.accumulate(batch, signal);
      tokens += batch.tokenIds.length;
    }
    const rate = learningRate(this.#schedule, this.step);
    const result = await this.trainer.step(rate);
    this.step = result.step;
    const seconds = (performance.now() - begun) / 1000;
    const memory = model.memory().total;
    this.#remember(result.loss, tokens / seconds, memory);
    yield* this.#write({
      event: "train",
      step: this.step,
      epoch: this.step / plan.stepsPerEpoch,
      loss: result.loss,
      learning_rate: rate,
      grad_norm: result.gradNorm,
      clipped: result.clipped,
      target_tokens: Math.round(result.weightSum),
      tokens,
      tokens_per_second: tokens / seconds,
      samples_per_second: samples.length / seconds,
      memory_bytes: memory,
      seconds: this.#seconds,
    });
    const last = this.step === plan.totalSteps;
    if (last || this.step % plan.evalEvery === 0) yield* this.validate(signal);
    if (last || this.exhausted || this.step % plan.saveEvery === 0) yield* this.save();
  }

  #samplesOf(step: number): Sample[] {
    const { data, config, plan } = this.training;
    const epoch = Math.floor(step / plan.stepsPerEpoch);
    if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#steps = epochSteps(data.train.samples, config, epoch);
    }
    return this.#steps[step % plan.stepsPerEpoch] ?? [];
  }

  #remember(loss: number, tokensPerSecond: number, memory: number): void {
    this.#firstLoss ??= loss;
    this.#lastLoss = loss;
    this.#rates.push(tokensPerSecond);
    this.#peakMemory = Math.max(this.#peakMemory, memory);
  }

  async *validate(signal?: AbortSignal): AsyncGenerator<LogEvent> {
    const { model, data, plan, onValidation } = this.training;
    const { samples } = data.validation;
    if (samples.length === 0) return;
    const begun = performance.now();
    const results = await measureLikelihood(model, samples, {
      limits: plan.trainer, // micro-batches of training's size: its buffers then serve here too
      signal,
      onProgress: (done) => onValidation?.(done, samples.length),
    });
    const { loss, perplexity, tokens } = meanLikelihood(results);
    this.#validation = { step: this.step, loss, perplexity };
    await this.#judge(loss);
    yield* this.#write({
      event: "validation",
      step: this.step,
      loss,
      perplexity,
      target_tokens: tokens,
      seconds: (performance.now() - begun) / 1000,
    });
  }

  /** With early stopping: keeps the adapter when it is the best so far. */
  async #judge(loss: number): Promise<void> {
    const { run, config, model, plan } = this.training;
    if (config.training.patience === null) return;
    this.#progress = afterValidation(this.#progress, this.step, loss);
    if (this.#progress.best?.step !== this.step) return;
    await saveAdapter(run.adapter, model, plan.lora, config.model.base);
  }

  async *save(): AsyncGenerator<LogEvent> {
    const { run, config, model, plan } = this.training;
    const path = await saveCheckpoint(
      run.checkpoints,
      model,
      this.trainer,
      plan.lora,
      config.model.base,
      { format: 1, step: this.step, total_steps: plan.totalSteps, fingerprint: this.print },
    );
    this.#savedStep = this.step;
    yield* this.#write({
      event: "checkpoint",
      step: this.step,
      path: path.slice(run.folder.length + 1),
    });
  }

  /** Saves the final adapter and the report. */
  async *finish(): AsyncGenerator<LogEvent> {
    const { run, config, model, plan } = this.training;
    if (this.#validation === null && !this.exhausted) yield* this.validate();
    const { best } = this.#progress;
    if (best === null) await saveAdapter(run.adapter, model, plan.lora, config.model.base);
    await saveJson(run.trainReport, this.report());
    this.#ended = true;
    yield* this.#write({
      event: "run_end",
      reason: "finished",
      message: best === null
        ? null
        : `the adapter of step ${best.step} was kept, validation loss ${best.loss.toFixed(4)}` +
          (this.exhausted ? "; stopped early, as it did not fall any further" : ""),
      step: this.step,
      seconds: this.#seconds,
    });
  }

  report(): TrainReport {
    const { run } = this.training;
    const { best } = this.#progress;
    return {
      steps: this.step,
      resumed_from: this.resumedFrom,
      first_loss: this.#firstLoss,
      last_loss: this.#lastLoss,
      validation_loss: best?.loss ?? this.#validation?.loss ?? null,
      validation_perplexity: best === null
        ? this.#validation?.perplexity ?? null
        : Math.exp(best.loss),
      best_step: best?.step ?? null,
      seconds: this.#seconds,
      tokens_per_second: median(this.#rates),
      peak_memory_bytes: this.#peakMemory,
      adapter: run.adapter.slice(run.folder.length + 1),
      log: this.log.path.slice(run.folder.length + 1),
    };
  }

  /** Keeps what was learnt and notes why the run ended. Never hides the error that ended it. */
  async stop(reason: "interrupted" | "failed", error: unknown): Promise<void> {
    this.#ended = true;
    const message = error instanceof Error ? error.message : String(error);
    try {
      if (reason === "interrupted" && this.step > this.#savedStep) {
        for await (const _ of this.save());
      }
      this.log.append({
        event: "run_end",
        reason,
        message,
        step: this.step,
        seconds: this.#seconds,
      });
    } catch (second) {
      console.error(`After "${message}" the end of the run could not be saved:`, second);
    }
  }

  async close(): Promise<void> {
    // A consumer that left its loop early interrupted the run without a signal.
    if (!this.#ended) await this.stop("interrupted", new Error("the loop was left"));
    await this.trainer.close();
    this.log[Symbol.dispose]();
  }
}

/** What validation showed in the parts that a run is resumed from. */
async function progressUpTo(run: Run, config: Config, step: number): Promise<Progress> {
  if (step === 0 || config.training.patience === null) return NO_PROGRESS;
  const { validations } = await loadTrainingHistory(run);
  return validations.filter((one) => one.step <= step)
    .reduce((progress, one) => afterValidation(progress, one.step, one.loss), NO_PROGRESS);
}

/** The checkpoint to go on from; one of another run is set aside with a word about it. */
async function resumable(run: Run, config: Config, print: string): Promise<Checkpoint | null> {
  const checkpoint = await findCheckpoint(run.checkpoints);
  if (checkpoint === null) return null;
  const same = checkpoint.state.fingerprint === print;
  if (same && config.training.on_rerun === "resume") return checkpoint;
  const aside = await setCheckpointsAside(run.checkpoints, new Date());
  const why = same ? 'training.on_rerun is "restart"' : "configuration, data or base model changed";
  console.log(`Starting from step 0: ${why}. The earlier checkpoints are kept in ${aside}.`);
  return null;
}

function median(values: readonly number[]): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}
