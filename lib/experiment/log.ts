/**
 * The experiment log: JSON Lines, append-only, one event a line. A reader tolerates a torn last line
 * (the machine went off while it was being written).
 */
import { z } from "zod";
import { Config } from "@lib/config.ts";
import { Environment } from "@lib/experiment/environment.ts";
import { FileReadError, FileWriteError } from "@lib/files.ts";

const finite = z.number();
const base = { time: z.iso.datetime() };

/** The first line of every log: what was asked and what it ran on. */
export const RunStart = z.strictObject({
  ...base,
  event: z.literal("run_start"),
  run: z.string(),
  config: Config,
  environment: Environment,
  seed: z.number().int(),
  total_steps: z.number().int(),
  /** Steps taken before, when the run was resumed. */
  resumed_from: z.number().int(),
  train_samples: z.number().int(),
  validation_samples: z.number().int(),
  /** Samples longer than training.max_sequence_tokens, left out. */
  too_long: z.number().int(),
  prefix_tokens: z.number().int(),
  trainable_parameters: z.number().int(),
});

/** One optimiser step. */
export const TrainStep = z.strictObject({
  ...base,
  event: z.literal("train"),
  step: z.number().int(),
  epoch: finite,
  /** Mean over the target tokens of the step, nats. */
  loss: finite,
  learning_rate: finite,
  /** Before clipping. */
  grad_norm: finite,
  clipped: z.boolean(),
  /** Target tokens of this step. */
  target_tokens: z.number().int(),
  /** Tokens computed in this step, a shared prefix once a micro-batch. */
  tokens: z.number().int(),
  tokens_per_second: finite,
  samples_per_second: finite,
  /** Device bytes allocated by the engine. */
  memory_bytes: z.number(),
  /** Since the run (or its resumption) started. */
  seconds: finite,
});

/** A pass over the validation samples. */
export const Validation = z.strictObject({
  ...base,
  event: z.literal("validation"),
  step: z.number().int(),
  loss: finite,
  perplexity: finite,
  target_tokens: z.number().int(),
  seconds: finite,
});

/** A checkpoint that a resumption can start from. */
export const CheckpointSaved = z.strictObject({
  ...base,
  event: z.literal("checkpoint"),
  step: z.number().int(),
  path: z.string(),
});

/** The run has ended: by itself, by an interrupt, or by an error. */
export const RunEnd = z.strictObject({
  ...base,
  event: z.literal("run_end"),
  reason: z.enum(["finished", "interrupted", "failed"]),
  message: z.string().nullable(),
  step: z.number().int(),
  seconds: finite,
});

export const LogEvent = z.discriminatedUnion("event", [
  RunStart,
  TrainStep,
  Validation,
  CheckpointSaved,
  RunEnd,
]);
export type LogEvent = z.infer<typeof LogEvent>;
export type RunStart = z.infer<typeof RunStart>;
export type TrainStep = z.infer<typeof TrainStep>;
export type Validation = z.infer<typeof Validation>;

/** An event without its time, which the log adds. */
export type NewLogEvent = LogEvent extends infer E ? E extends LogEvent ? Omit<E, "time"> : never
  : never;

/** Appends events to one file. */
export class ExperimentLog implements Disposable {
  readonly #file: Deno.FsFile;

  private constructor(readonly path: string, file: Deno.FsFile) {
    this.#file = file;
  }

  /** Opens a log for appending; made if missing. */
  static async open(path: string): Promise<ExperimentLog> {
    try {
      return new ExperimentLog(path, await Deno.open(path, { append: true, create: true }));
    } catch (error) {
      throw new FileWriteError(path, error);
    }
  }

  /**
   * Appends one event, checked against its schema.
   *
   * @returns the event as written
   * @throws {FileWriteError} the disk is full or gone; earlier lines are untouched
   */
  append(event: NewLogEvent): LogEvent {
    const whole = LogEvent.parse({ time: new Date().toISOString(), ...event });
    try {
      const bytes = new TextEncoder().encode(`${JSON.stringify(whole)}\n`);
      for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
    } catch (error) {
      throw new FileWriteError(this.path, error);
    }
    return whole;
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A log as read. */
export interface LoadedLog {
  readonly events: readonly LogEvent[];
  /** The file ended inside a line, which was left out. */
  readonly torn: boolean;
}

/**
 * Reads a log.
 *
 * @throws {FileReadError} a line other than the last that is not an event, with its number
 */
export async function loadLog(path: string): Promise<LoadedLog> {
  const lines = (await Deno.readTextFile(path)).split("\n");
  const last = lines.pop() ?? "";
  const events = lines.filter((line) => line !== "").map((line, i) => {
    const parsed = LogEvent.safeParse(parseJson(line));
    if (parsed.success) return parsed.data;
    throw new FileReadError(
      `${path}: line ${i + 1} is not a log event: ${z.prettifyError(parsed.error)}`,
    );
  });
  const whole = LogEvent.safeParse(parseJson(last));
  if (whole.success) return { events: [...events, whole.data], torn: false };
  return { events, torn: last !== "" };
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
