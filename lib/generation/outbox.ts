/** Events on their way to one reader: a slow one gets more at a time, never holds anybody up. */
import type { AnswerEvent } from "@lib/generation/request.ts";

/** One event that says what two said. */
function merged(earlier: AnswerEvent, later: AnswerEvent): AnswerEvent {
  return { ...later, text: earlier.text + later.text, ids: [...earlier.ids, ...later.ids] };
}

/**
 * A buffer of one event that grows until it is read. Bounded, since answers are.
 *
 * Leaving its iteration early (`break`, `return`) calls `onLeft`.
 */
export class Outbox implements AsyncIterable<AnswerEvent> {
  #pending: AnswerEvent | null = null;
  #error: { readonly reason: unknown } | null = null;
  #finished = false;
  #wake: (() => void) | null = null;

  constructor(readonly onLeft: () => void) {}

  /** Adds an event; one with a `finish` is the last. */
  push(event: AnswerEvent): void {
    if (this.#finished) return;
    this.#pending = this.#pending === null ? event : merged(this.#pending, event);
    this.#finished = event.finish !== null;
    this.#notify();
  }

  /** Ends with an error: the reader gets what is there, then the error. */
  fail(reason: unknown): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#error = { reason };
    this.#notify();
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = null;
  }

  async #next(): Promise<IteratorResult<AnswerEvent>> {
    while (this.#pending === null && !this.#finished) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const event = this.#pending;
    this.#pending = null;
    if (event !== null) return { value: event, done: false };
    const error = this.#error;
    this.#error = null;
    if (error !== null) throw error.reason;
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): AsyncIterator<AnswerEvent> {
    return {
      next: () => this.#next(),
      return: () => {
        this.#finished = true;
        this.#pending = null;
        this.#error = null;
        this.#notify();
        this.onLeft();
        return Promise.resolve({ value: undefined, done: true });
      },
    };
  }
}
