/** The part of a conversation that the model is given: as many whole turns as fit. */
import { encodePrompt } from "@lib/chat/prompt.ts";
import type { Message } from "@lib/chat/template.ts";
import type { Tokenizer } from "@lib/chat/tokenizer.ts";

/** A conversation that cannot be given to the model. */
export class WindowError extends Error {
  override readonly name = "WindowError";

  /** @param kind `too_long`: not even the latest turn fits; `form`: no question stands at the end */
  constructor(message: string, readonly kind: "too_long" | "form") {
    super(message);
  }
}

/** What is left of a conversation. */
export interface Window {
  /** System prompt and latest turns. */
  readonly messages: readonly Message[];
  /** Their tokens, ending where the answer begins. */
  readonly ids: readonly number[];
  /** Turns left out, the oldest ones. */
  readonly dropped: number;
}

/** Indices at which turns begin: the user's messages. */
function turnStarts(messages: readonly Message[]): number[] {
  return messages.flatMap(({ role }, i) => role === "user" ? [i] : []);
}

function checkForm(messages: readonly Message[]): void {
  const last = messages.at(-1)?.role;
  if (last !== "user") {
    throw new WindowError(
      `Expected a conversation that ends with the user's message, found ${
        last === undefined ? "an empty one" : `one that ends with the role '${last}'`
      }.`,
      "form",
    );
  }
  const broken = messages.find(({ content }) => !content.isWellFormed());
  if (broken !== undefined) {
    throw new WindowError(
      `Expected Unicode text, found a lone surrogate in a message of the role '${broken.role}'.`,
      "form",
    );
  }
}

/**
 * Keeps the system prompt and the latest turns, whole: a turn is the user's message and what was
 * answered. The oldest turns are left out until the rest fits.
 *
 * @param messages perhaps a system prompt, then turns; the last is the user's
 * @param room tokens the prompt may have
 * @throws {WindowError} not even the latest message fits, or there is none
 */
export function fitWindow(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  room: number,
): Window {
  checkForm(messages);
  const turns = messages.filter(({ role, content }) => role !== "system" || content.trim() !== "");
  const starts = turnStarts(turns);
  const head = turns.slice(0, starts[0]);
  const from = (turn: number): Window => {
    const kept = [...head, ...turns.slice(starts[turn])];
    return { messages: kept, ids: encodePrompt(tokenizer, kept), dropped: turn };
  };
  const fits = ({ ids }: Window) => ids.length <= room;
  let best = from(starts.length - 1);
  if (!fits(best)) {
    throw new WindowError(
      `Expected a message that fits with the system prompt into ${room} tokens, found ` +
        `${best.ids.length}. Shorten it.`,
      "too_long",
    );
  }
  // From the end backwards, twice as many turns each time, until they no longer fit; then by halves.
  let low = -1;
  for (let kept = 2; best.dropped > 0; kept *= 2) {
    const tried = from(Math.max(0, starts.length - kept));
    if (!fits(tried)) {
      low = tried.dropped;
      break;
    }
    best = tried;
  }
  while (best.dropped - low > 1) {
    const tried = from((best.dropped + low) >> 1);
    if (fits(tried)) best = tried;
    else low = tried.dropped;
  }
  return best;
}
