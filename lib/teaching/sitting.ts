/**
 * One sitting of an examination: the examiner's and the examinee's process, their messages passed on,
 * their limits kept.
 *
 * @module
 */
import { join } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { hubSettings } from "@lib/weights/hub/settings.ts";
import { Child } from "./child.ts";
import { LOCKED_FOLDERS } from "./examinee.ts";
import type { CheckResult, ExerciseResult, Outcome } from "./exercise_result.ts";
import { limitedCommand, type Limits, watchMemory } from "./limits.ts";
import { Answer, ExaminerMessage } from "./protocol.ts";

/** Variables that the processes get: what finding Deno's cache and the native library takes. */
const PASSED_ON = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME", "USERPROFILE", "LOCALAPPDATA"];

/** Why a sitting was cut off. */
export type Ending = { readonly outcome: Outcome; readonly why: string };

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
    HF_HUB_CACHE: hubSettings().cache,
    HF_HUB_OFFLINE: "1",
    [LOCKED_FOLDERS]: locked.join("\n"),
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  };
}

/** Folders that the pristine cells read: project, models of the hub, native library where it is. */
function readFolders(): readonly string[] {
  const library = Deno.env.get("QLORA_LIBRARY_DIR");
  return [PROJECT_ROOT, hubSettings().cache, ...library === undefined ? [] : [library]];
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

/** Why nothing more is examined. */
export function stopped({ reason }: AbortSignal): [Outcome, string] {
  return reason instanceof DOMException && reason.name === "TimeoutError"
    ? ["time limit", "The time for the whole notebook was used up."]
    : ["not answered", "Grading was stopped."];
}

/** Two processes at work on some of the exercises. */
export class Sitting {
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

  #start(folder: string, onMessage: (text: string) => void, locked: readonly string[]): Child {
    const { printedBytes } = this.#limits;
    return new Child({
      ...command(join(folder, "program.ts"), folder, this.#limits),
      cwd: folder,
      env: environment(join(folder, "outputs"), locked),
      nonce: crypto.randomUUID(),
      printedBytes,
      onMessage,
      onFlood: () => this.#end("printed too much", `It printed more than ${printedBytes} bytes.`),
    });
  }

  /**
   * Runs the programs to their end or to the first limit.
   *
   * @param scratch holds `examiner/program.ts` and `examinee/program.ts`
   */
  async run(scratch: string, signal: AbortSignal): Promise<Ending | undefined> {
    const onAbort = () => this.#end(...stopped(signal));
    signal.addEventListener("abort", onAbort);
    await using examiner = this.#start(join(scratch, "examiner"), this.#onExaminer, []);
    await using examinee = this.#start(
      join(scratch, "examinee"),
      this.#onExaminee,
      readFolders(),
    );
    [this.#examiner, this.#examinee] = [examiner, examinee];
    const { memoryMegabytes, notebookSeconds } = this.#limits;
    using _memory = watchMemory(
      examinee.pid,
      memoryMegabytes,
      () => this.#end("memory limit", `It took more than ${memoryMegabytes} MB.`),
    );
    const whole = setTimeout(
      () => this.#end("time limit", `The notebook took longer than ${notebookSeconds} s.`),
      1000 * notebookSeconds,
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
