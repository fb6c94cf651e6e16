/** The models behind the server: turns of the conversation, decoded together by the scheduler. */
import { type Message, TemplateError } from "@lib/chat/template.ts";
import { WindowError } from "@lib/chat/window.ts";
import { SamplingError } from "@lib/generation/sampling.ts";
import { RequestError, type Scheduler, SchedulerFull } from "@lib/generation/scheduler.ts";
import { answerTurn, type TurnResult as SpokenTurn } from "@lib/generation/turn.ts";
import type { Region } from "@lib/safety/mod.ts";
import {
  type Answering,
  BusyError,
  type ServedModel,
  TurnError,
  type TurnEvent,
  type TurnRequest,
  type TurnResult,
  type TurnSampling,
} from "./answering.ts";

/** How the models are served. */
export interface ModelAnsweringOptions {
  readonly models: readonly ServedModel[];
  /** For conversations that bring none of their own. */
  readonly systemPrompt: string;
  /** For requests that ask for none. */
  readonly sampling: TurnSampling;
  readonly region: Region;
}

/** Answers with a model on this machine. Its scheduler stays the caller's to close. */
export class ModelAnswering implements Answering {
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler, readonly options: ModelAnsweringOptions) {
    this.#scheduler = scheduler;
  }

  get models(): readonly ServedModel[] {
    return this.options.models;
  }

  get contextTokens(): number {
    return this.#scheduler.options.maxSequenceTokens;
  }

  get live(): number {
    return this.#scheduler.live;
  }

  get waiting(): number {
    return this.#scheduler.waiting;
  }

  async *answer(request: TurnRequest): AsyncGenerator<TurnEvent> {
    const { seed, ...sampling } = { ...this.options.sampling, ...request.sampling };
    const events = answerTurn(this.#scheduler, {
      ...{ system: request.system, sampling, seed, stop: request.stop, signal: request.signal },
      messages: this.#withSystemPrompt(request.messages),
      region: this.options.region,
    });
    try {
      for await (const { text, result } of events) {
        if (result === null) yield { text, result };
        else yield { text: "", result: resultOf(result) };
      }
    } catch (error) {
      throw refusalOf(error);
    }
  }

  #withSystemPrompt(messages: readonly Message[]): readonly Message[] {
    const { systemPrompt } = this.options;
    if (messages[0]?.role === "system" || systemPrompt === "") return messages;
    return [{ role: "system", content: systemPrompt }, ...messages];
  }
}

function resultOf(turn: SpokenTurn): TurnResult {
  const { level, kind, action, findings, droppedTurns } = turn;
  return {
    finish: turn.finish === "guard" ? "content_filter" : turn.finish,
    promptTokens: turn.promptTokens,
    completionTokens: turn.tokens,
    guard: { level, kind, action, findings, dropped_turns: droppedTurns },
  };
}

/** What the client did wrong, or that it must wait; other errors stay what they are. */
function refusalOf(error: unknown): unknown {
  if (error instanceof SchedulerFull) return new BusyError(error.message, error.retryAfterSeconds);
  if (error instanceof WindowError && error.kind === "too_long") {
    return new TurnError(error.message, "context_length_exceeded");
  }
  const refused = error instanceof WindowError || error instanceof SamplingError ||
    error instanceof RequestError || error instanceof TemplateError;
  return refused ? new TurnError(error.message, "invalid_value") : error;
}
