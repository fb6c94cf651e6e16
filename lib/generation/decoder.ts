/** Text of growing answers, never cut inside a character. */
import type { Tokenizer } from "@lib/chat/tokenizer.ts";

/**
 * Decodes one answer token by token. A token that ends inside a UTF-8 character is held back until
 * the character is whole.
 */
export class StreamDecoder {
  readonly #ids: number[] = [];
  #emitted = "";

  constructor(readonly tokenizer: Tokenizer) {}

  /** @returns the text that has become certain with this token; may be empty */
  push(id: number): string {
    this.#ids.push(id);
    const text = this.tokenizer.decode(this.#ids);
    const whole = text.replace(/\uFFFD+$/, "");
    if (!whole.startsWith(this.#emitted)) return "";
    const fresh = whole.slice(this.#emitted.length);
    this.#emitted = whole;
    return fresh;
  }

  /** What is left when the answer has ended; an unfinished character is dropped. */
  end(): string {
    const whole = this.tokenizer.decode(this.#ids).replace(/\uFFFD+$/, "");
    const fresh = whole.startsWith(this.#emitted) ? whole.slice(this.#emitted.length) : "";
    this.#emitted = whole;
    return fresh;
  }

  /** All text so far. */
  get text(): string {
    return this.#emitted;
  }
}
