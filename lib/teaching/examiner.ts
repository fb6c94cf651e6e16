/**
 * The half of an examination that judges: runs the checks, asks the other process for the solution.
 *
 * @module
 */
import { listenToChecks } from "@lib/notebook/check.ts";
import { LineReader, LineWriter } from "./line_channel.ts";
import { Answer, type ExaminerMessage, Header, type Question } from "./protocol.ts";
import { type AnyFunction, decode, encode } from "./wire.ts";

/** The student's code threw, or cannot be asked. */
export class SolutionError extends Error {
  override readonly name = "SolutionError";
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** Calls of a solution and what becomes of them; everything here waits without giving way. */
class Asking {
  readonly #reader: LineReader;
  readonly #writer: LineWriter;
  readonly #functions: AnyFunction[] = [];

  constructor(reader: LineReader, writer: LineWriter) {
    this.#reader = reader;
    this.#writer = writer;
  }

  tell(message: ExaminerMessage): void {
    this.#writer.write(message);
  }

  readonly #toId = (callback: AnyFunction): number => this.#functions.push(callback) - 1;
  readonly #fromId = (id: number): AnyFunction => (...args) => this.#call(id, args);

  /** Asks and waits; calls back in between are answered. */
  ask(question: Question): unknown {
    for (let next: Question = question;;) {
      this.tell({ say: "ask", question: next });
      const line = this.#reader.nextSync();
      if (line === undefined) throw new SolutionError("The solution's process has ended.");
      const answer = Answer.parse(JSON.parse(line));
      switch (answer.say) {
        case "return":
          return decode(answer.value, this.#fromId);
        case "throw":
          throw new SolutionError(describe(decode(answer.error)));
        case "call":
          next = this.#callBack(answer.target, answer.args);
          break;
        case "ready":
          throw new SolutionError("The solution's process began anew.");
      }
    }
  }

  #call(target: number, args: readonly unknown[]): unknown {
    return this.ask({ do: "call", target, args: encode(args, this.#toId) });
  }

  #callBack(id: number, args: unknown): Question {
    try {
      const callback = this.#functions[id];
      const values = decode(args, this.#fromId);
      if (!callback || !Array.isArray(values)) throw new SolutionError("No such function.");
      return { do: "return", value: encode(callback(...values), this.#toId) };
    } catch (error) {
      return { do: "throw", error: encode(error instanceof Error ? error : String(error)) };
    }
  }
}

/** What the examiner's program calls. */
export class Examiner {
  readonly #asking: Asking;
  readonly #reader: LineReader;
  #failed = false;
  #solutions: ReadonlyMap<string, unknown> = new Map();

  constructor(reader: LineReader, writer: LineWriter) {
    this.#reader = reader;
    this.#asking = new Asking(reader, writer);
  }

  /** The pristine cells have run: waits until the other process is as far. */
  ready(): void {
    this.#asking.tell({ say: "ready" });
    if (this.#reader.nextSync() === undefined) Deno.exit(1); // the grader is gone
    listenToChecks(({ name, ok, text }) => this.#asking.tell({ say: "check", name, ok, text }));
  }

  /** Begins an exercise: the student's cell is run in the other process. */
  begin(exercise: number): void {
    this.#asking.tell({ say: "begin", exercise });
    this.#failed = false;
    this.#solutions = new Map();
    try {
      const solutions = this.#asking.ask({ do: "define", exercise });
      if (typeof solutions === "object" && solutions !== null) {
        this.#solutions = new Map(Object.entries(solutions));
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The solution of that name: its value, or a function to be called as if it stood here. */
  stub(name: string): unknown {
    if (this.#solutions.has(name)) return this.#solutions.get(name);
    return () => {
      throw new SolutionError(`${name} is missing: the exercise's cell does not declare it.`);
    };
  }

  /** The same for a function that returns a promise. */
  asyncStub(name: string): AnyFunction {
    const solution = this.stub(name);
    // deno-lint-ignore require-await -- what it throws must reject, as the solution's own would
    return async (...args) => typeof solution === "function" ? solution(...args) : solution;
  }

  /** Runs a given statement; none after one that threw. */
  async step(run: () => Promise<unknown>): Promise<void> {
    if (this.#failed) return;
    try {
      await run();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#failed = true;
    const text = error instanceof SolutionError ? error.message : describe(error);
    this.#asking.tell({ say: "error", text });
  }

  end(): void {
    this.#asking.tell({ say: "end" });
  }

  done(): void {
    this.#asking.tell({ say: "done" });
    Deno.exit(0);
  }
}

/** Opens the examination from standard input's first line. */
export function openExaminer(): Examiner {
  const reader = new LineReader();
  const { nonce } = Header.parse(JSON.parse(reader.nextSync() ?? "null"));
  return new Examiner(reader, new LineWriter(nonce));
}
