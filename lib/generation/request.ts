/** What is asked of a scheduler, and what it answers. */
import type { Sampling } from "@lib/engine/generator.ts";
import { checkSampling, checkStopStrings } from "@lib/generation/sampling.ts";

/** Which of the two models answers: without or with the adapter. */
export const SYSTEMS = ["base", "tuned"] as const;
export type SystemName = (typeof SYSTEMS)[number];

/** One answer that is wanted. */
export interface AnswerRequest {
  readonly system: SystemName;
  /** The whole prompt, ending where the answer begins. */
  readonly promptIds: readonly number[];
  /** Seed and stop ids included. */
  readonly sampling: Sampling;
  /** Texts that end the answer; they are not part of it. @default {[]} */
  readonly stop?: readonly string[];
  /** Gives the answer up, whether it waits or is under way. */
  readonly signal?: AbortSignal | undefined;
}

/** Why an answer ended: the model or a stop string ended it, or the cap on its length. */
export type AnswerFinish = "stop" | "length";

/** News of one answer, everything since the last event in one. */
export interface AnswerEvent {
  /** New text, whole characters only; empty when the new tokens made none. */
  readonly text: string;
  /** New token ids, the one that ends the turn included. */
  readonly ids: readonly number[];
  /** Tokens so far. */
  readonly tokens: number;
  /** Sum over the tokens so far under the unmodified distribution, nats. */
  readonly logprob: number;
  /** null: more will follow. */
  readonly finish: AnswerFinish | null;
}

/** Too many requests wait already. */
export class SchedulerFull extends Error {
  override readonly name = "SchedulerFull";

  /** @param retryAfterSeconds after how long a place is likely: an estimate from recent answers */
  constructor(waiting: number, readonly retryAfterSeconds: number) {
    super(
      `${waiting} requests wait for a place already. Try again in ${retryAfterSeconds} seconds.`,
    );
  }
}

/** A request that cannot be answered as it is. */
export class RequestError extends Error {
  override readonly name = "RequestError";
}

/** What a request is held against. */
export interface RequestLimits {
  /** Prompt and answer together. */
  readonly maxSequenceTokens: number;
  readonly vocabSize: number;
  /** Whether a tuned model is there. */
  readonly hasAdapter: boolean;
}

/**
 * Refuses what could not be decoded.
 *
 * @throws {RequestError | SamplingError} with what was expected and what was found
 */
export function checkRequest(request: AnswerRequest, limits: RequestLimits): void {
  checkSampling(request.sampling);
  checkStopStrings(request.stop ?? []);
  if (request.system === "tuned" && !limits.hasAdapter) {
    throw new RequestError(
      "The tuned model was asked for, and the model has no adapter. Train one, or ask the base model.",
    );
  }
  const { length } = request.promptIds;
  if (length < 1 || length >= limits.maxSequenceTokens) {
    throw new RequestError(
      `Expected a prompt of 1 to ${limits.maxSequenceTokens - 1} tokens, so that an answer fits ` +
        `behind it, found ${length}. Shorten it.`,
    );
  }
  const bad = request.promptIds.find((id) =>
    !Number.isInteger(id) || id < 0 || id >= limits.vocabSize
  );
  if (bad !== undefined) {
    throw new RequestError(
      `Expected token ids from 0 to ${limits.vocabSize - 1}, found ${bad}. ` +
        "Use the tokenizer of this model.",
    );
  }
}
