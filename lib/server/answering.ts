/** What the server needs of the models: the seam between HTTP and the decode. */
import type { Message } from "@lib/chat/template.ts";

/** Which of the two models answers: without or with the adapter. */
export type SystemName = "base" | "tuned";

/** A model under the name clients ask for. */
export interface ServedModel {
  /** Name in the API. */
  readonly id: SystemName;
  /** The checkpoint or adapter behind it. */
  readonly source: string;
  /** When it was made, seconds since 1970. */
  readonly created: number;
}

/** How one answer is drawn. */
export interface TurnSampling {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
}

/** One answer that is wanted: the last message is the user's. */
export interface TurnRequest {
  readonly system: SystemName;
  readonly messages: readonly Message[];
  /** Settings left out are the run's own. */
  readonly sampling: Partial<TurnSampling>;
  readonly stop: readonly string[];
  /** Gives the answer up and frees its place. */
  readonly signal: AbortSignal;
}

/** What the guardrails did. */
export interface GuardReport {
  /** 0 none … 4 abuse, a minor, a threat. */
  readonly level: number;
  readonly kind: string;
  /** `fixed_reply`: the model was not asked; `replaced`: its answer broke off and was replaced. */
  readonly action: "none" | "note" | "fixed_reply" | "replaced";
  /** Kinds of what was found in the model's answer. */
  readonly findings: readonly string[];
  /** Oldest turns of the conversation that no longer fitted and were left out. */
  readonly dropped_turns: number;
}

/** How an answer ended. */
export interface TurnResult {
  readonly finish: "stop" | "length" | "content_filter";
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly guard: GuardReport;
}

/** A piece of an answer, or its end. */
export type TurnEvent =
  | { readonly text: string; readonly result: null }
  | { readonly text: ""; readonly result: TurnResult };

/** A turn that no model can take as it is: too long, or out of range. */
export class TurnError extends Error {
  override readonly name = "TurnError";

  constructor(
    message: string,
    readonly code: "context_length_exceeded" | "invalid_value",
  ) {
    super(message);
  }
}

/** All places are taken. */
export class BusyError extends Error {
  override readonly name = "BusyError";

  constructor(message: string, readonly retryAfterSeconds: number) {
    super(message);
  }
}

/** The models behind the server. */
export interface Answering {
  readonly models: readonly ServedModel[];
  /** Longest prompt and answer together, in tokens. */
  readonly contextTokens: number;
  /** Answers under way. */
  readonly live: number;
  /** Requests waiting for a place. */
  readonly waiting: number;
  /**
   * Begins an answer. Leaving the iteration early frees its place.
   *
   * @throws {TurnError | BusyError} before the first event, where it cannot begin
   */
  answer(request: TurnRequest): AsyncIterable<TurnEvent>;
}
