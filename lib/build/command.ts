/** Running a build tool, and reading how far it is. */
import type { OnPhase } from "@lib/phases.ts";

/** A build that failed; the message holds the tool's output. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

/** All text of a stream, its lines told as they come. */
async function read(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  onLine: ((line: string) => void) | undefined,
): Promise<string> {
  let [all, rest] = ["", ""];
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    all += text;
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop() ?? "";
    if (onLine !== undefined) lines.forEach(onLine);
  }
  return all;
}

/**
 * Runs a build tool and gives what it printed.
 *
 * @param what the step, for the message
 * @param onLine called with every line of its standard output as it comes
 * @throws {BuildError} the tool failed; the message is its command line and its output
 */
export async function runTool(
  command: string,
  args: readonly string[],
  what: string,
  onLine?: (line: string) => void,
): Promise<string> {
  const child = new Deno.Command(command, {
    args: [...args],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [stdout, stderr, { success, code }] = await Promise.all([
    read(child.stdout, onLine),
    read(child.stderr, undefined),
    child.status,
  ]);
  if (success) return stdout;
  throw new BuildError(
    `${what} failed with exit code ${code}:\n` +
      `${command} ${args.join(" ")}\n${stdout}${stderr}`.slice(0, 8000),
  );
}

/** How far a line of a build says it is. */
export interface BuildStep {
  readonly done: number;
  readonly total: number;
  readonly unit: string;
}

/**
 * What Ninja (`[3/40] Building …`) or Make under CMake (`[ 25%] Building …`) say; null for other lines.
 *
 * @example
 * ```ts
 * import { buildStep } from "@lib/build/command.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(buildStep("[3/40] Building CXX object a.o"), { done: 3, total: 40, unit: "files" });
 * assertEquals(buildStep("[ 25%] Building CXX object a.o")?.done, 25);
 * assertEquals(buildStep("a.cpp: warning"), null);
 * ```
 */
export function buildStep(line: string): BuildStep | null {
  const [, done, total] = /^\[(\d+)\/(\d+)\]/.exec(line) ?? [];
  if (total !== undefined) return { done: Number(done), total: Number(total), unit: "files" };
  const percent = /^\[ *(\d+)%\]/.exec(line)?.[1];
  return percent === undefined ? null : { done: Number(percent), total: 100, unit: "%" };
}

/** For {@linkcode runTool}: tells a build's steps as a phase. */
export function buildLines(
  onPhase: OnPhase | undefined,
  phase: string,
): ((line: string) => void) | undefined {
  return onPhase && ((line) => {
    const step = buildStep(line);
    if (step !== null) onPhase(phase, step.done, step.total, step.unit);
  });
}
