/** A chat without a terminal: plain lines in, answers on standard output, the rest on standard error. */
import type { ChatIo, ReadLine } from "@lib/chat/chat.ts";
import { writeOut } from "@lib/chat/terminal/raw_mode.ts";

/**
 * Lines of a stream of UTF-8 bytes; a backslash at the end of a line joins the next to it by a line
 * feed.
 *
 * @throws {TypeError} bytes that are not UTF-8
 */
export async function* inputLines(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  let begun = "";
  const takeLine = (line: string): string | null => {
    const text = begun + (line.endsWith("\r") ? line.slice(0, -1) : line);
    begun = text.endsWith("\\") ? `${text.slice(0, -1)}\n` : "";
    return begun === "" ? text : null;
  };
  for await (const chunk of bytes) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const text = takeLine(line);
      if (text !== null) yield text;
    }
  }
  const last = takeLine(rest + decoder.decode()) ?? begun.trimEnd();
  if (last !== "") yield last;
}

/** Standard input and output of this process. */
export class LinesIo implements ChatIo {
  readonly #lines = inputLines(Deno.stdin.readable);

  /**
   * @param say writes a line for the person, not part of the answers
   * @param signal ends the chat when it aborts
   * @param silent answers are not written: standard output is for something else
   */
  constructor(
    readonly say: (line: string) => void,
    readonly signal: AbortSignal,
    readonly silent = false,
  ) {}

  async readLine(): Promise<ReadLine> {
    const { value, done } = await this.#lines.next();
    return done === true ? { type: "end" } : { type: "line", text: value };
  }

  write(text: string): void {
    if (!this.silent) writeOut(text);
  }

  note(line: string): void {
    this.say(line);
  }

  async stoppable(work: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    await work(this.signal);
    return false;
  }

  now(): number {
    return performance.now();
  }
}
