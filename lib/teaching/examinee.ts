/**
 * The half of an examination that answers: runs the student's code with no permission left.
 *
 * @module
 */
import { loadLibrary } from "@lib/engine/library.ts";
import { LineReader, LineWriter } from "./line_channel.ts";
import { type Answer, Header, Question } from "./protocol.ts";
import { type AnyFunction, decode, encode } from "./wire.ts";

/** One exercise as the student solved it. */
export interface Definition {
  /** What the exercise asks for; the student may have declared more. */
  readonly names: readonly string[];
  /** Runs the student's cell. @returns its values by name */
  readonly define: () => Promise<Readonly<Record<string, unknown>>>;
  /** Makes the values known to later exercises. */
  readonly publish: (names: Readonly<Record<string, unknown>>) => void;
}

/** Environment variable with the folders, one a line, that the student's code may not read. */
export const LOCKED_FOLDERS = "GRADE_LOCKED_FOLDERS";

/** Gives away, for good, every permission but reading the scratch folder and this environment. */
function lock(folders: readonly string[]): void {
  const descriptors: readonly Deno.PermissionDescriptor[] = [
    ...(["ffi", "run", "write", "net", "sys", "import"] as const).map((name) => ({ name })),
    ...folders.map((path) => ({ name: "read", path } as const)),
  ];
  for (const descriptor of descriptors) {
    const { state } = Deno.permissions.revokeSync(descriptor);
    if (state !== "granted") continue;
    throw new Error(`Cannot lock the examination: ${JSON.stringify(descriptor)} is still granted.`);
  }
}

/** Loads the native library while it may be: what is loaded can be called later. */
function preload(): void {
  try {
    loadLibrary("cpu");
  } catch {
    // Not built here: a solution that needs it says so itself.
  }
}

/** Answers questions until the other side ends. */
class Answering {
  readonly #reader = new LineReader();
  readonly #writer: LineWriter;
  readonly #definitions: Readonly<Record<number, Definition>>;
  readonly #functions: AnyFunction[] = [];

  constructor(definitions: Readonly<Record<number, Definition>>) {
    this.#definitions = definitions;
    const { nonce } = Header.parse(JSON.parse(this.#reader.nextSync() ?? "null"));
    this.#writer = new LineWriter(nonce);
  }

  readonly #toId = (value: AnyFunction): number => this.#functions.push(value) - 1;
  readonly #fromId = (id: number): AnyFunction => (...args) => this.#callBack(id, args);

  #say(answer: Answer): void {
    this.#writer.write(answer);
  }

  #callBack(target: number, args: readonly unknown[]): unknown {
    this.#say({ say: "call", target, args: encode(args, this.#toId) });
    for (;;) {
      const question = Question.parse(JSON.parse(this.#reader.nextSync() ?? "null"));
      if (question.do === "return") return decode(question.value, this.#fromId);
      if (question.do === "throw") throw decode(question.error);
      throw new Error("A function given as an argument was called after the call had ended.");
    }
  }

  async #define(exercise: number): Promise<unknown> {
    const definition = this.#definitions[exercise];
    if (!definition) throw new Error(`Exercise ${exercise} was not handed in.`);
    const values = await definition.define();
    definition.publish(values);
    return Object.fromEntries(definition.names.map((name) => [name, values[name]]));
  }

  async #do(question: Question): Promise<unknown> {
    if (question.do === "define") return await this.#define(question.exercise);
    if (question.do !== "call") throw new Error("An answer to no question.");
    const solution = this.#functions[question.target];
    if (!solution) throw new Error("No such function.");
    const args = decode(question.args, this.#fromId);
    return await Reflect.apply(solution, undefined, Array.isArray(args) ? args : []);
  }

  async run(): Promise<never> {
    this.#say({ say: "ready" });
    for (;;) {
      const line = await this.#reader.next();
      if (line === undefined) Deno.exit(0);
      try {
        const value = await this.#do(Question.parse(JSON.parse(line)));
        this.#say({ say: "return", value: encode(value, this.#toId) });
      } catch (error) {
        const said = error instanceof Error ? error : new Error(String(error));
        this.#say({ say: "throw", error: encode(said) });
      }
    }
  }
}

/** Locks this process and answers the examiner until it ends. */
export async function answerExaminer(
  definitions: Readonly<Record<number, Definition>>,
): Promise<never> {
  const answering = new Answering(definitions);
  preload();
  lock((Deno.env.get(LOCKED_FOLDERS) ?? "").split("\n").filter((folder) => folder !== ""));
  return await answering.run();
}
