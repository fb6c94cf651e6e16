/** A chat at a terminal: line editing, history, answers as they come, Ctrl-C for either. */
import type { ChatIo, ReadLine } from "@lib/chat/chat.ts";
import { type Key, KeyReader } from "@lib/chat/terminal/keys.ts";
import { type EditorState, emptyEditor, pressKey } from "@lib/chat/terminal/line_editor.ts";
import { drawLine, leaveLine, NOTHING_DRAWN } from "@lib/chat/terminal/line_view.ts";
import { rawMode, writeOut } from "@lib/chat/terminal/raw_mode.ts";

const PROMPT = "> ";

function columns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80; // a terminal that does not say
  }
}

/** Raw mode wants both: to the next row, and to its beginning. */
const forTerminal = (text: string) => text.replaceAll("\n", "\r\n");

/** The terminal of this process. Dispose it: it is in raw mode until then. */
export class TerminalIo implements ChatIo, Disposable {
  readonly #raw = rawMode();
  readonly #input = Deno.stdin.readable.getReader();
  readonly #keys: Key[] = [];
  #editor: EditorState = emptyEditor();
  #wake: (() => void) | null = null;
  #ended = false;
  #stop: AbortController | null = null;

  /** @param signal ends the input when it aborts */
  constructor(readonly signal: AbortSignal) {
    signal.addEventListener("abort", () => this.#end(), { once: true });
    this.#pump();
  }

  async #pump(): Promise<void> {
    const reader = new KeyReader();
    try {
      for (;;) {
        const { value, done } = await this.#input.read();
        if (done) break;
        for (const key of reader.push(value)) this.#press(key);
      }
    } catch {
      // The terminal is gone, and the input with it.
    }
    this.#end();
  }

  /** Ctrl-C stops an answer under way; what is typed meanwhile waits for the next prompt. */
  #press(key: Key): void {
    const isInterrupt = key.type === "key" && key.name === "interrupt";
    if (isInterrupt && this.#stop !== null) {
      this.#keys.length = 0;
      this.#stop.abort();
    } else this.#keys.push(key);
    this.#wake?.();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async #nextKey(): Promise<Key | null> {
    while (this.#keys.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#keys.shift() ?? null;
  }

  async readLine(): Promise<ReadLine> {
    let drawn = NOTHING_DRAWN;
    for (;;) {
      if (this.#keys.length === 0) {
        const drawing = drawLine(this.#editor, PROMPT, columns(), drawn);
        writeOut(drawing.output);
        drawn = drawing.drawn;
      }
      const key = await this.#nextKey();
      if (key === null) {
        writeOut(leaveLine(drawn));
        return { type: "end" };
      }
      const before = this.#editor;
      const { state, action } = pressKey(before, key);
      this.#editor = state;
      if (action === null) continue;
      if (action.type === "redraw") {
        writeOut("\x1b[H\x1b[2J");
        drawn = NOTHING_DRAWN;
        continue;
      }
      const last = drawLine(before, PROMPT, columns(), drawn);
      writeOut(last.output + leaveLine(last.drawn));
      if (action.type === "submit") return { type: "line", text: action.text };
      if (action.type === "end_of_input") return { type: "end" };
      return { type: "interrupt", empty: before.text === "" };
    }
  }

  write(text: string): void {
    writeOut(forTerminal(text));
  }

  note(line: string): void {
    const dim = Deno.noColor ? line : `\x1b[2m${line}\x1b[0m`;
    writeOut(forTerminal(`${dim}\n`));
  }

  async stoppable(work: (signal: AbortSignal) => Promise<void>): Promise<boolean> {
    const stop = new AbortController();
    this.#stop = stop;
    try {
      await work(AbortSignal.any([stop.signal, this.signal]));
    } catch (error) {
      if (!stop.signal.aborted && !this.signal.aborted) throw error;
    } finally {
      this.#stop = null;
    }
    return stop.signal.aborted;
  }

  now(): number {
    return performance.now();
  }

  /** A read of a terminal cannot be called off: end the program with `Deno.exit` afterwards. */
  [Symbol.dispose](): void {
    this.#end();
    this.#raw[Symbol.dispose]();
  }
}
