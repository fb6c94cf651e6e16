/** `/v1/chat/completions`: a turn in OpenAI's form, at once or as it is decoded. */
import {
  type Answering,
  BusyError,
  TurnError,
  type TurnEvent,
  type TurnRequest,
  type TurnResult,
} from "./answering.ts";
import { type ChatRequest, parseChatRequest } from "./chat_request.ts";
import { eventStream } from "./event_stream.ts";
import { findModel } from "./models.ts";
import { HttpProblem, problemBody } from "./problem.ts";

/** What every part of one completion repeats. */
interface Envelope {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

/** What surrounds a completion. */
export interface CompletionContext {
  /** Any of them gives the answer up: the client's, the server's. */
  readonly signals: readonly AbortSignal[];
  /** Told why an answer broke off when its status had been sent. */
  readonly onFailure: (message: string) => void;
}

/**
 * Answers a completion request.
 *
 * @param body the request's JSON
 * @throws {HttpProblem} 400, 404, 429
 */
export async function completionResponse(
  answering: Answering,
  body: unknown,
  { signals, onFailure }: CompletionContext,
): Promise<Response> {
  const request = parseChatRequest(body);
  const model = findModel(answering, request.model);
  const gone = new AbortController();
  const turn: TurnRequest = {
    system: model.id,
    messages: request.messages,
    sampling: request.sampling,
    stop: request.stop,
    signal: AbortSignal.any([gone.signal, ...signals]),
  };
  const events = await begun(answering.answer(turn));
  const envelope: Envelope = {
    id: `chatcmpl-${crypto.randomUUID()}`,
    created: Math.floor(Date.now() / 1000),
    model: model.id,
  };
  if (!request.stream) return Response.json(await whole(events, envelope));
  const told = (error: unknown): HttpProblem => {
    const problem = brokenOff(error);
    if (!turn.signal.aborted) onFailure(problem.message);
    return problem;
  };
  const pieces = chunks(events, envelope, request, told);
  const stream = eventStream(pieces, (reason) => gone.abort(reason));
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      // Compressed or gathered by a proxy, the pieces would come late.
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    },
  });
}

/** Waits for the first event, so that a refusal still has its own status. */
async function begun(events: AsyncIterable<TurnEvent>): Promise<AsyncIterable<TurnEvent>> {
  const iterator = events[Symbol.asyncIterator]();
  let first: IteratorResult<TurnEvent> | null;
  try {
    first = await iterator.next();
  } catch (error) {
    throw problemOf(error);
  }
  const next = (): Promise<IteratorResult<TurnEvent>> => {
    const held = first;
    first = null;
    return held === null ? iterator.next() : Promise.resolve(held);
  };
  const leave = async (): Promise<IteratorResult<TurnEvent>> =>
    await iterator.return?.() ?? { value: undefined, done: true };
  return { [Symbol.asyncIterator]: () => ({ next, return: leave }) };
}

/** The refusal that an error of the models amounts to; other errors stay what they are. */
function problemOf(error: unknown): unknown {
  if (error instanceof BusyError) {
    const headers = { "retry-after": String(Math.max(1, Math.ceil(error.retryAfterSeconds))) };
    return new HttpProblem(429, error.message, { code: "too_many_requests", headers });
  }
  if (!(error instanceof TurnError)) return error;
  return new HttpProblem(400, error.message, { code: error.code, param: "messages" });
}

function usageOf({ promptTokens, completionTokens }: TurnResult) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

/** The whole answer in one object. */
async function whole(events: AsyncIterable<TurnEvent>, envelope: Envelope): Promise<unknown> {
  let content = "";
  for await (const { text, result } of events) {
    content += text;
    if (result === null) continue;
    return {
      ...envelope,
      object: "chat.completion",
      choices: [{
        index: 0,
        message: { role: "assistant", content, refusal: null },
        logprobs: null,
        finish_reason: result.finish,
      }],
      usage: usageOf(result),
      guardrails: result.guard,
    };
  }
  throw new Error("The answer ended without saying why.");
}

/**
 * The answer in pieces: the role first, then text, the reason it ended, usage if asked for.
 *
 * @param told what the client is told of an answer that breaks off
 */
async function* chunks(
  events: AsyncIterable<TurnEvent>,
  envelope: Envelope,
  { includeUsage }: ChatRequest,
  told: (error: unknown) => HttpProblem,
): AsyncGenerator<string> {
  const base = { ...envelope, object: "chat.completion.chunk" };
  const piece = (delta: Record<string, string>, result: TurnResult | null): string =>
    JSON.stringify({
      ...base,
      choices: [{ index: 0, delta, logprobs: null, finish_reason: result?.finish ?? null }],
      ...(includeUsage ? { usage: null } : {}),
      ...(result === null ? {} : { guardrails: result.guard }),
    });
  yield piece({ role: "assistant", content: "" }, null);
  try {
    for await (const { text, result } of events) {
      if (text !== "") yield piece({ content: text }, null);
      if (result === null) continue;
      yield piece({}, result);
      if (includeUsage) yield JSON.stringify({ ...base, choices: [], usage: usageOf(result) });
    }
  } catch (error) {
    // The status has been sent: what is left is to say that this answer is not whole.
    yield JSON.stringify(problemBody(told(error)));
  }
  yield "[DONE]";
}

function brokenOff(error: unknown): HttpProblem {
  const why = error instanceof Error ? error.message : String(error);
  return new HttpProblem(500, `The answer broke off: ${why}`, { code: "answer_broken_off" });
}
