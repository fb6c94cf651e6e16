/**
 * Progress with rate and time left: in place in a cell, one line in a terminal, plain lines in a log.
 *
 * @module
 */
import { display, displayId, escapeHtml, FONT_STACK } from "./display.ts";
import { inKernel } from "./host.ts";

/** Where progress is written. */
export type ProgressTarget = "cell" | "terminal" | "log" | "none";

/** Options of {@linkcode Progress}. */
export interface ProgressOptions {
  /** How much there is to do; without it no time left is shown. */
  readonly total?: number;
  /** What was done before the clock began, and so tells nothing about the rate. @default {0} */
  readonly initial?: number;
  /** What is counted, in the plural. @default {"steps"} */
  readonly unit?: string;
  /** Shows nothing, as `--quiet` asks. @default {false} */
  readonly quiet?: boolean;
  /** @default a cell in a kernel, else a terminal or a log, whichever stderr is */
  readonly target?: ProgressTarget;
  /** Writes to the terminal or log. @default stderr, so that stdout stays clean for results */
  readonly write?: (text: string) => void;
  /** Width of the terminal. @default what the terminal says, else 80 */
  readonly columns?: number;
  /** Milliseconds on a clock that never goes back. @default {performance.now} */
  readonly now?: () => number;
}

/** Metadata by which the headless runner knows a progress display. */
export const PROGRESS_METADATA = { progress: true } as const;

/** Least milliseconds between two drawings: at most 4 a second, and a log line every 10 seconds. */
const INTERVAL_MS: Readonly<Record<ProgressTarget, number>> = {
  cell: 250,
  terminal: 250,
  log: 10_000,
  none: Infinity,
};
/** A long text takes room from the bar, so that the time left is seen. */
const BAR_CELLS = 24;
const FEWEST_BAR_CELLS = 4;

/** Seconds as a person reads them: `8 s`, `3 min 05 s`, `2 h 10 min`, `3 d 04 h`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  const whole = Math.round(seconds);
  if (whole < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${whole} s`;
  const pad = (value: number) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${pad(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(hours / 24)} d ${pad(hours % 24)} h`;
}

function formatRate(rate: number): string {
  if (rate >= 100) return Math.round(rate).toLocaleString("en-US");
  return rate >= 1 ? rate.toFixed(1) : rate.toPrecision(2);
}

function defaultTarget(): ProgressTarget {
  if (inKernel()) return "cell";
  return Deno.stderr.isTerminal() ? "terminal" : "log";
}

function writeToStderr(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
}

/** The line that a terminal shows now and that is still to be redrawn. */
let openLine: { readonly text: string; readonly write: (text: string) => void } | undefined;

/**
 * Writes a line for the person at the terminal above the progress line that may be there.
 *
 * @param print writes the line, with its end. @default to standard error
 */
export function printLine(line: string, print?: (line: string) => void): void {
  if (!openLine) return print ? print(line) : writeToStderr(`${line}\n`);
  const { text, write } = openLine;
  if (!print) return write(`\r${" ".repeat(text.length)}\r${line}\n${text}`);
  write(`\r${" ".repeat(text.length)}\r`);
  print(line);
  write(text);
}

/**
 * Progress of one piece of work. `update` is cheap and may be called as often as you like; the work
 * must `await` something now and then, or a cell shows nothing until it ends.
 *
 * @example
 * ```ts
 * import { Progress } from "@lib/notebook/progress.ts";
 *
 * await using progress = new Progress("Cleaning", { total: 3, unit: "rows" });
 * for (let row = 1; row <= 3; row++) progress.update(row);
 * ```
 */
export class Progress {
  readonly #label: string;
  readonly #options: ProgressOptions;
  readonly #target: ProgressTarget;
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  readonly #id = displayId();
  readonly #begun: number;
  #done = 0;
  #note = "";
  #drawnAt = -Infinity;
  #drawing: Promise<void> = Promise.resolve();
  #finished = false;
  #lineWidth = 0;

  constructor(label: string, options: ProgressOptions = {}) {
    this.#label = label;
    this.#options = options;
    this.#target = options.quiet ? "none" : options.target ?? defaultTarget();
    this.#write = options.write ?? writeToStderr;
    this.#now = options.now ?? (() => performance.now());
    this.#begun = this.#now();
    this.#done = options.initial ?? 0;
    if (this.#target === "log") this.#drawnAt = this.#begun;
  }

  /** What is done so far. */
  get done(): number {
    return this.#done;
  }

  /** Sets what is done, in units, with a short note such as the loss. */
  update(done: number, note = this.#note): void {
    this.#done = done;
    this.#note = note;
    if (this.#finished) return;
    const now = this.#now();
    if (now - this.#drawnAt < INTERVAL_MS[this.#target]) return;
    this.#drawnAt = now;
    this.#draw();
  }

  /** Adds to what is done. */
  add(count = 1, note = this.#note): void {
    this.update(this.#done + count, note);
  }

  /** Draws the end state; resolves once it is shown. A second call does nothing. */
  async finish(note = this.#note): Promise<void> {
    if (!this.#finished) {
      this.#note = note;
      this.#finished = true;
      this.#draw();
    }
    await this.#drawing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.finish();
  }

  /** The line of text: label, share, count, rate, time left or taken, note. */
  get text(): string {
    const { total, initial = 0, unit = "steps" } = this.#options;
    const seconds = (this.#now() - this.#begun) / 1000;
    const rate = seconds > 0 ? (this.#done - initial) / seconds : 0;
    const count = this.#done.toLocaleString("en-US");
    const parts = [
      total === undefined
        ? `${count} ${unit}`
        : `${count}/${total.toLocaleString("en-US")} ${unit}`,
    ];
    if (rate > 0) parts.push(`${formatRate(rate)} ${unit}/s`);
    if (this.#finished) parts.push(`took ${formatDuration(seconds)}`);
    else if (total !== undefined && rate > 0) {
      parts.push(`${formatDuration(Math.max(0, total - this.#done) / rate)} left`);
    }
    if (this.#note) parts.push(this.#note);
    const share = total ? ` ${String(Math.floor(100 * this.#share)).padStart(3)} %` : "";
    return `${this.#label}${share}  ${parts.join(" · ")}`;
  }

  get #share(): number {
    const { total } = this.#options;
    return total ? Math.min(1, this.#done / total) : 0;
  }

  #draw(): void {
    switch (this.#target) {
      case "cell": {
        const { text } = this;
        const bundle = { "text/html": this.#html(text), "text/plain": text };
        this.#drawing = this.#drawing.then(() =>
          display(bundle, { id: this.#id }, PROGRESS_METADATA)
        );
        return;
      }
      case "terminal":
        return this.#drawLine();
      case "log":
        return this.#write(`${this.text}\n`);
      case "none":
    }
  }

  /** Redraws one terminal line, no wider than the terminal, the longer line before it erased. */
  #drawLine(): void {
    const room = (this.#options.columns ?? terminalColumns()) - 1;
    const { text } = this;
    const cells = Math.max(FEWEST_BAR_CELLS, Math.min(BAR_CELLS, room - text.length - 3));
    const filled = Math.round(this.#share * cells);
    const bar = this.#options.total ? `[${"#".repeat(filled)}${"-".repeat(cells - filled)}] ` : "";
    const line = (bar + text).slice(0, room);
    this.#write(`\r${line.padEnd(this.#lineWidth)}${this.#finished ? "\n" : ""}`);
    this.#lineWidth = line.length;
    openLine = this.#finished ? undefined : { text: line, write: this.#write };
  }

  #html(text: string): string {
    const bar = this.#options.total
      ? `<progress value="${this.#share.toFixed(4)}" max="1" style="width:16em"></progress> `
      : "";
    return `<div style="font-family:${FONT_STACK};font-variant-numeric:tabular-nums">${bar}${
      escapeHtml(text)
    }</div>`;
  }
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || 80; // a pseudo-terminal may not know its size
  } catch {
    return 80; // no terminal behind it, as in a test
  }
}
