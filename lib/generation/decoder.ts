/** Text of growing answers, never cut inside a character. */
import type { Tokenizer } from "@lib/chat/tokenizer.ts";

/**
 * Decodes one answer token by token. A token that ends inside a UTF-8 character is held back until
 * the character is whole.
 *
 * Only the last few tokens are decoded again: those since the last place where the text ended with a
 * whole character, and those of the step before, whose company decides about spaces.
 */
export class StreamDecoder {
  /** Tokens from the beginning of the window on. */
  #window: number[] = [];
  /** Of the window, tokens whose text had been shown when the window was last moved. */
  #settled = 0;
  /** Of the window's text, UTF-16 units shown. */
  #shown = 0;
  #text = "";

  constructor(readonly tokenizer: Tokenizer) {}

  /** @returns the text that has become certain with this token; may be empty */
  push(id: number): string {
    this.#window.push(id);
    const text = this.tokenizer.decode(this.#window);
    const whole = text.replace(/\uFFFD+$/, "");
    const fresh = whole.slice(this.#shown);
    this.#shown = Math.max(this.#shown, whole.length);
    this.#text += fresh;
    if (whole === text && fresh !== "") this.#move();
    return fresh;
  }

  /** Forgets the tokens before the last settled place. */
  #move(): void {
    this.#window = this.#window.slice(this.#settled);
    this.#settled = this.#window.length;
    this.#shown = this.tokenizer.decode(this.#window).length;
  }

  /** All text so far. An unfinished character at the end is not in it. */
  get text(): string {
    return this.#text;
  }
}
