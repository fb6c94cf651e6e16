/**
 * An answer checked while it is written: whole sentences come out, each checked before it is shown.
 *
 * @module
 */
import { sentencesOf } from "@lib/evaluation/sentences.ts";
import { findingsInAnswer, replacementOf } from "./answer_check.ts";
import type { CheckOptions, OutputFinding } from "./types.ts";

/** How much of what was shown is looked at again with each new sentence. */
const CONTEXT = 300;

/**
 * Takes text as it is decoded and gives whole checked sentences; nothing unchecked comes out. At
 * the first finding the replacement comes out instead, and nothing after it.
 *
 * @example
 * ```ts
 * import { GuardedStream } from "@lib/safety/mod.ts";
 * import { assert, assertEquals } from "@std/assert";
 * const stream = new GuardedStream({ region: "BD" });
 * assertEquals(stream.push("কষ্টটা বুঝতে "), "");
 * assertEquals(stream.push("পারছি। রাতে ২টা ট্যাব"), "কষ্টটা বুঝতে পারছি।");
 * assert(!stream.push("লেট খেয়ে নিন। ").includes("ট্যাবলেট"));
 * assert(stream.replaced);
 * ```
 */
export class GuardedStream {
  readonly #options: CheckOptions;
  #shown = "";
  #pending = "";
  #findings: readonly OutputFinding[] = [];

  constructor(options: CheckOptions = {}) {
    this.#options = options;
  }

  /** Whether a replacement stands in place of the rest of the answer. */
  get replaced(): boolean {
    return this.#findings.length > 0;
  }

  /** What was found, with offsets in the whole answer as the model wrote it. */
  get findings(): readonly OutputFinding[] {
    return this.#findings;
  }

  /** Takes decoded text; returns what may be shown now, perhaps nothing. */
  push(text: string): string {
    if (this.replaced) return "";
    this.#pending += text;
    return this.#release(completeLength(this.#pending));
  }

  /** Ends the answer; returns what is left to show. */
  end(): string {
    return this.replaced ? "" : this.#release(this.#pending.length);
  }

  #release(length: number): string {
    if (length === 0) return "";
    const next = this.#pending.slice(0, length);
    const context = this.#shown.slice(-CONTEXT);
    const from = this.#shown.length - context.length;
    const findings = findingsInAnswer(context + next, this.#options)
      .filter(({ span }) => span.end > context.length)
      .map((found) => ({
        ...found,
        span: { ...found.span, start: found.span.start + from, end: found.span.end + from },
      }));
    if (findings.length > 0) {
      this.#findings = findings;
      this.#pending = "";
      const replacement = replacementOf(findings, this.#options);
      return this.#shown === "" ? replacement : `\n\n${replacement}`;
    }
    this.#pending = this.#pending.slice(length);
    this.#shown += next;
    return next;
  }
}

/** Length of the part of a text that is made of finished sentences. */
function completeLength(text: string): number {
  const sentences = sentencesOf(text);
  const last = sentences.at(-1);
  if (last === undefined) return 0;
  const rest = text.slice(last.end);
  if (/[।॥?!]["'”’)]*$/u.test(last.text) && /^\s/u.test(rest)) return last.end;
  return sentences.at(-2)?.end ?? 0;
}
