/**
 * Examines one submission: two processes, limits, and what came of each exercise.
 *
 * An exercise that loops, ends its process or takes too much costs itself: the others are examined
 * again in fresh processes.
 *
 * @module
 */
import { join } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { Child } from "./child.ts";
import { copyFolder } from "./copy_folder.ts";
import { LOCKED_FOLDERS } from "./examinee.ts";
import type { TakenApart } from "./exercises.ts";
import { limitedCommand, type Limits, watchMemory } from "./limits.ts";
import { makePrograms } from "./programs.ts";
import { Answer, ExaminerMessage } from "./protocol.ts";
import type { StudentPart } from "./submission.ts";

/** How an exercise ended. */
export type Outcome =
  | "passed"
  | "failed"
  | "time limit"
  | "memory limit"
  | "printed too much"
  | "ended its process"
  | "cannot run"
  | "not answered";

/** One check of an exercise. */
export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
}

/** What came of one exercise. */
export interface ExerciseResult {
  readonly exercise: number;
  readonly outcome: Outcome;
  readonly checks: readonly CheckResult[];
  /** What went wrong besides checks; empty where nothing did. */
  readonly error: string;
}

/** What an examination needs besides the programs. */
export interface ExaminationOptions {
  /** Folder of this submission alone; made and removed by the caller. */
  readonly scratch: string;
  /** Run folders made by the earlier notebooks, copied for each process; none where not needed. */
  readonly outputs?: string;
  readonly limits: Limits;
  readonly signal?: AbortSignal;
}

/** Variables that the processes get: what finding Deno's cache and the native library takes. */
const PASSED_ON = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME", "USERPROFILE", "LOCALAPPDATA"];

type Ending = { readonly outcome: Outcome; readonly why: string };

function environment(outputs: string, locked: readonly string[]): Record<string, string> {
  const passed = PASSED_ON.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  const library = Deno.env.get("QLORA_LIBRARY_DIR");
  return {
    ...Object.fromEntries(passed),
    ...(library === undefined ? {} : { QLORA_LIBRARY_DIR: library }),
    QLORA_OUTPUTS: outputs,
    [LOCKED_FOLDERS]: locked.join("\n"),
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  };
}

/** Folders that the pristine cells read: the project, and the native library where it lies apart. */
function readFolders(): readonly string[] {
  const library = Deno.env.get("QLORA_LIBRARY_DIR");
  return [PROJECT_ROOT, ...library === undefined ? [] : [library]];
}

/** The command that runs one program, with what its pristine cells need and no more. */
function command(program: string, folder: string, limits: Limits) {
  const heap = `--v8-flags=--max-old-space-size=${limits.memoryMegabytes}`;
  const permissions = [
    `--allow-read=${[...readFolders(), folder].join(",")}`,
    `--allow-write=${folder}`,
    "--allow-env",
    "--allow-sys",
    "--allow-ffi",
  ];
  const loading = ["--no-check", "--no-prompt", "--no-remote", "--cached-only", "--quiet"];
  const config = `--config=${PROJECT_ROOT}deno.json`;
  const args = ["run", ...loading, config, heap, ...permissions, program];
  return limitedCommand(Deno.execPath(), args, 2 * limits.notebookSeconds);
}

/** Two processes at work on some of the exercises. */
class Sitting {
  readonly results: ExerciseResult[] = [];
  /** Exercise under way, if any. */
  #current: { readonly exercise: number; checks: CheckResult[]; error: string } | undefined;
  #examinerReady = false;
  #examineeReady = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #finish = Promise.withResolvers<Ending | undefined>();
  readonly #limits: Limits;
  #examiner: Child | undefined;
  #examinee: Child | undefined;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get current(): number | undefined {
    return this.#current?.exercise;
  }

  get begun(): boolean {
    return this.#examinerReady && this.#examineeReady;
  }

  #end(outcome: Outcome, why: string): void {
    this.#finish.resolve({ outcome, why });
  }

  /** Has the exercise under way time-limited. */
  #limitTime(seconds: number | undefined): void {
    clearTimeout(this.#timer);
    if (seconds === undefined) return;
    const why = `It took longer than ${seconds} s.`;
    this.#timer = setTimeout(() => this.#end("time limit", why), 1000 * seconds);
  }

  readonly #onExaminer = (text: string): void => {
    const message = ExaminerMessage.parse(JSON.parse(text));
    switch (message.say) {
      case "ready":
        this.#examinerReady = true;
        return this.#go();
      case "begin":
        this.#current = { exercise: message.exercise, checks: [], error: "" };
        return this.#limitTime(this.#limits.exerciseSeconds);
      case "ask":
        return this.#examinee?.send(message.question);
      case "check":
        this.#current?.checks.push({ name: message.name, ok: message.ok, text: message.text });
        return;
      case "error":
        if (this.#current) this.#current.error = message.text;
        return;
      case "end":
        return this.#endExercise();
      case "done":
        return this.#finish.resolve(undefined);
    }
  };

  #endExercise(): void {
    this.#limitTime(undefined);
    if (!this.#current) return;
    const { exercise, checks, error } = this.#current;
    const passed = error === "" && checks.length > 0 && checks.every(({ ok }) => ok);
    this.results.push({ exercise, checks, error, outcome: passed ? "passed" : "failed" });
    this.#current = undefined;
  }

  /** The student's process speaks: its words are values for the examiner and nothing else. */
  readonly #onExaminee = (text: string): void => {
    let answer: Answer;
    try {
      answer = Answer.parse(JSON.parse(text));
    } catch {
      return this.#end("ended its process", "It disturbed the messages of its own process.");
    }
    if (answer.say !== "ready") return this.#examiner?.sendText(text);
    this.#examineeReady = true;
    this.#go();
  };

  #go(): void {
    if (this.begun) this.#examiner?.send("go");
  }

  #examineeEnded(child: Child): void {
    const words = child.lastWords;
    if (/heap out of memory|heap limit/i.test(words)) {
      return this.#end("memory limit", `It took more than ${this.#limits.memoryMegabytes} MB.`);
    }
    if (words.includes("await promise never resolved")) {
      return this.#end("ended its process", "It waited for something that never came.");
    }
    const lastLine = words.split("\n").find((line) => /error/i.test(line)) ?? "";
    const what = this.begun ? "The process ended while it was asked." : "It did not start.";
    this.#end(this.begun ? "ended its process" : "cannot run", `${what} ${lastLine}`.trim());
  }

  /** Runs the programs to their end or to the first limit. */
  async run(options: ExaminationOptions, signal: AbortSignal): Promise<Ending | undefined> {
    const { scratch, limits } = options;
    const start = (name: string, onMessage: (text: string) => void, locked: readonly string[]) => {
      const folder = join(scratch, name);
      return new Child({
        ...command(join(folder, "program.ts"), folder, limits),
        cwd: folder,
        env: environment(join(folder, "outputs"), locked),
        nonce: crypto.randomUUID(),
        printedBytes: limits.printedBytes,
        onMessage,
        onFlood: () =>
          this.#end("printed too much", `It printed more than ${limits.printedBytes} bytes.`),
      });
    };
    const onAbort = () => this.#end(...stopped(signal));
    signal.addEventListener("abort", onAbort);
    await using examiner = start("examiner", this.#onExaminer, []);
    await using examinee = start("examinee", this.#onExaminee, readFolders());
    [this.#examiner, this.#examinee] = [examiner, examinee];
    using _memory = watchMemory(
      examinee.pid,
      limits.memoryMegabytes,
      () => this.#end("memory limit", `It took more than ${limits.memoryMegabytes} MB.`),
    );
    const whole = setTimeout(
      () => this.#end("time limit", `The notebook took longer than ${limits.notebookSeconds} s.`),
      1000 * limits.notebookSeconds,
    );
    try {
      void examinee.ended().then(() => this.#examineeEnded(examinee));
      void examiner.ended().then(() =>
        this.#finish.resolve({ outcome: "cannot run", why: examiner.lastWords })
      );
      return await this.#finish.promise;
    } finally {
      clearTimeout(whole);
      this.#limitTime(undefined);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** The exercise under way as it stood when the sitting was cut off. */
  cutOff({ outcome, why }: Ending): ExerciseResult | undefined {
    if (!this.#current) return undefined;
    const { exercise, checks } = this.#current;
    return { exercise, checks, outcome, error: why };
  }
}

/** Why nothing more is examined. */
function stopped({ reason }: AbortSignal): [Outcome, string] {
  return reason instanceof DOMException && reason.name === "TimeoutError"
    ? ["time limit", "The time for the whole notebook was used up."]
    : ["not answered", "Grading was stopped."];
}

/** Prepares the folders of one sitting. */
async function prepare(
  notebook: TakenApart,
  parts: readonly StudentPart[],
  { scratch, outputs }: ExaminationOptions,
): Promise<void> {
  const programs = await makePrograms(notebook, parts);
  for (const name of ["examiner", "examinee"] as const) {
    const folder = join(scratch, name);
    await Deno.remove(folder, { recursive: true }).catch(() => {});
    await Deno.mkdir(join(folder, "outputs"), { recursive: true });
    await Deno.writeTextFile(join(folder, "program.ts"), programs[name]);
    if (outputs !== undefined) await copyFolder(outputs, join(folder, "outputs"));
  }
}

async function sit(
  notebook: TakenApart,
  parts: readonly StudentPart[],
  options: ExaminationOptions,
  signal: AbortSignal,
): Promise<readonly ExerciseResult[]> {
  if (parts.length === 0) return [];
  const all = (outcome: Outcome, error: string) =>
    parts.map(({ exercise }) => ({ exercise, outcome, error, checks: [] }));
  if (signal.aborted) return all(...stopped(signal));
  await prepare(notebook, parts, options);
  const sitting = new Sitting(options.limits);
  const ending = await sitting.run(options, signal);
  if (!ending) return sitting.results;
  const cut = sitting.cutOff(ending);
  const done = new Set([...sitting.results, ...cut ? [cut] : []].map(({ exercise }) => exercise));
  const left = parts.filter(({ exercise }) => !done.has(exercise));
  const results = [...sitting.results, ...cut ? [cut] : []];
  if (cut) return [...results, ...await sit(notebook, left, options, signal)];
  // It did not come to any exercise: one of the parts spoils the program, or all do.
  if (parts.length === 1) return all(ending.outcome, ending.why);
  for (const part of left) results.push(...await sit(notebook, [part], options, signal));
  return results;
}

/**
 * Examines a student's parts.
 *
 * @returns one result for each part, by exercise; parts that cannot be run are not tried
 */
export async function examine(
  notebook: TakenApart,
  parts: readonly StudentPart[],
  options: ExaminationOptions,
): Promise<readonly ExerciseResult[]> {
  const signal = AbortSignal.any([
    AbortSignal.timeout(1000 * options.limits.notebookSeconds),
    ...options.signal ? [options.signal] : [],
  ]);
  const refused = parts.flatMap(({ exercise, refusal }) =>
    refusal === undefined
      ? []
      : [{ exercise, outcome: "cannot run", checks: [], error: refusal } as const]
  );
  const able = parts.filter(({ refusal }) => refusal === undefined);
  const results = [...refused, ...await sit(notebook, able, options, signal)];
  return results.toSorted((a, b) => a.exercise - b.exercise);
}
