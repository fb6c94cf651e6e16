// @ts-check
/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Asks the server for an answer and reads it as it is written.
 *
 * @module
 */

/** @typedef {{ role: "user" | "assistant", content: string }} Turn */

/**
 * @typedef {object} Ended
 * @property {"stop" | "length" | "content_filter"} finish
 * @property {number} dropped turns at the beginning that the model no longer saw
 * @property {string} action what the guardrails did: `none`, `note`, `fixed_reply` or `replaced`
 */

/** An answer that did not come, or not to its end. */
export class AnswerFailure extends Error {
  /**
   * @param {"gone" | "broken" | "unreachable" | "busy" | "too_long" | "token" | "other"} kind
   * @param {string} message
   */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/**
 * Reads one answer.
 *
 * @param {object} request
 * @param {"base" | "tuned"} request.model
 * @param {readonly Turn[]} request.messages
 * @param {number} request.temperature
 * @param {number} request.seed
 * @param {AbortSignal} request.signal
 * @param {(text: string) => void} onText called with every new piece
 * @returns {Promise<Ended>}
 * @throws {AnswerFailure}
 */
export async function readAnswer({ signal, ...request }, onText) {
  const response = await ask({ ...request, stream: true }, signal);
  /** @type {Ended | null} */
  let ended = null;
  let whole = false;
  try {
    for await (const data of events(response)) {
      if (data === "[DONE]") {
        whole = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error !== undefined) throw new AnswerFailure("broken", chunk.error.message);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) onText(choice.delta.content);
      if (choice?.finish_reason) {
        const { action = "none", dropped_turns: dropped = 0 } = chunk.guardrails ?? {};
        ended = { finish: choice.finish_reason, action, dropped };
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof AnswerFailure) throw error;
    throw new AnswerFailure("gone", String(error));
  }
  if (whole && ended !== null) return ended;
  throw new AnswerFailure("gone", "The stream ended before the answer did.");
}

/**
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {Promise<Response>}
 */
async function ask(body, signal) {
  /** @type {Response} */
  let response;
  try {
    response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new AnswerFailure("unreachable", String(error));
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw failureOf(response.status, problem?.error);
}

/**
 * @param {number} status
 * @param {{ message?: string, code?: string } | undefined} error
 */
function failureOf(status, error) {
  const message = error?.message ?? `HTTP ${status}`;
  if (status === 429 || status === 503) return new AnswerFailure("busy", message);
  if (status === 401) return new AnswerFailure("token", message);
  if (status === 413 || error?.code === "context_length_exceeded") {
    return new AnswerFailure("too_long", message);
  }
  return new AnswerFailure("other", message);
}

/**
 * The `data` of each server-sent event.
 *
 * @param {Response} response
 * @returns {AsyncGenerator<string>}
 */
async function* events(response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) return;
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value;
    const parts = pending.split("\n\n");
    pending = parts.pop() ?? "";
    for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
  }
}
