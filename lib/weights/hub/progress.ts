/** A download's progress: in a terminal and in a cell, with rate and time left. */
import { formatBytes } from "@lib/engine/memory.ts";
import { formatDuration, Progress, type ProgressOptions } from "@lib/notebook/progress.ts";
import type { DownloadProgress } from "./download.ts";
import type { HubError } from "./error.ts";

/** What {@linkcode fetchModel} is given to show how it goes. */
export interface DownloadView extends AsyncDisposable {
  readonly onProgress: (progress: DownloadProgress) => void;
  readonly onRetry: (error: HubError, delayMs: number) => void;
  readonly onMessage: (line: string) => void;
}

/** Below this a set of files is fetched before a bar would be read. */
const LEAST_BYTES = 1e6;
/** Least milliseconds between two notes of the same failure: all connections fail together. */
const NOTE_MS = 5000;

/**
 * Shows a download. What was here before it began counts neither for the rate nor for the bar.
 *
 * @param say prints a line
 */
export function downloadView(
  label: string,
  say: (line: string) => void,
  options: ProgressOptions = {},
): DownloadView {
  let bar: { readonly progress: Progress; readonly total: number; readonly before: number } | null =
    null;
  let last = { text: "", at: -Infinity };
  // A terminal's cursor stands behind the bar.
  const tell = (line: string) => say(bar !== null && Deno.stderr.isTerminal() ? `\n${line}` : line);
  const finish = () => {
    const ended = bar;
    bar = null;
    return ended?.progress.finish("") ?? Promise.resolve();
  };
  return {
    onProgress({ bytesDone, bytesTotal, file, phase }) {
      if (bytesTotal < LEAST_BYTES) return;
      if (bar?.total !== bytesTotal) {
        void finish();
        bar = { ...open(label, bytesDone, bytesTotal, options), total: bytesTotal };
        if (bytesDone > LEAST_BYTES) say(`${formatBytes(bytesDone)} of it were here already`);
      }
      const done = (bytesDone - bar.before) / 1e6;
      bar.progress.update(Math.round(done), phase === "check" ? `checking ${file}` : file);
    },
    onRetry(error, delayMs) {
      const now = performance.now();
      if (error.message === last.text && now - last.at < NOTE_MS) return;
      last = { text: error.message, at: now };
      // What went wrong; what to do about it is for the case that trying again does not help.
      const [problem] = error.message.split(/\.(?= |$)/);
      tell(`${problem}; trying again in ${formatDuration(delayMs / 1000)}`);
    },
    onMessage: tell,
    [Symbol.asyncDispose]: finish,
  };
}

function open(label: string, before: number, total: number, options: ProgressOptions) {
  const megabytes = Math.max(1, Math.round((total - before) / 1e6));
  const progress = new Progress(label, { ...options, total: megabytes, unit: "MB" });
  return { progress, before };
}
