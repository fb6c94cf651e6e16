/** Bars of a task's long pieces of work: one a phase, one for weights, the native build's. */
import { buildNative, type BuildOptions, type BuildResult } from "@lib/build/native.ts";
import { printLine, Progress } from "@lib/notebook/progress.ts";
import type { OnPhase } from "@lib/phases.ts";
import type { TaskContext } from "@lib/tasks/cli.ts";

/** Bars that are drawn while somebody tells how far the work is. */
export interface PhaseBars extends AsyncDisposable {
  readonly onPhase: OnPhase;
}

/**
 * A bar a phase: give `onPhase` to what works; a bar ends when the next phase begins.
 *
 * @param progress makes a bar, as {@linkcode TaskContext} does
 * @param unit what is counted, unless a phase says it
 */
export function phaseBars(progress: TaskContext["progress"], unit: string): PhaseBars {
  let bar: Progress | undefined;
  let current = "";
  return {
    onPhase(phase, done, total, counted = unit) {
      if (phase !== current) {
        void bar?.finish();
        bar = progress(phase, { total, unit: counted, initial: done });
        current = phase;
      }
      bar?.update(Math.floor(done));
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await bar?.finish();
    },
  };
}

/**
 * A bar for loading weights, drawn from the first report on: give `onProgress` to what loads.
 *
 * @param progress makes a bar, as {@linkcode TaskContext} does
 */
export function loadingBar(progress: TaskContext["progress"]) {
  let bar: Progress | undefined;
  return {
    onProgress({ bytesDone, bytesTotal }: {
      readonly bytesDone: number;
      readonly bytesTotal: number;
    }): void {
      const done = Math.round(bytesDone / 1e6);
      const total = Math.ceil(bytesTotal / 1e6);
      bar ??= progress("loading", { total, unit: "MB", initial: done });
      bar.update(done);
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await bar?.finish();
    },
  };
}

/** Builds what is missing or has changed, with a line a step and a bar for the files compiled. */
export async function buildWithBars(
  quiet: boolean,
  options: Omit<BuildOptions, "onProgress" | "onPhase"> = {},
): Promise<BuildResult> {
  await using bars = phaseBars((label, more) => new Progress(label, { ...more, quiet }), "files");
  const { onPhase } = bars;
  const onProgress = (line: string) => void (quiet || printLine(line));
  return await buildNative({ ...options, onProgress, onPhase });
}
