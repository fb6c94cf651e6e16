/** How far work is that goes through phases: what long functions tell those who wait. */

/**
 * Told which phase the work is in and how much of it is done.
 *
 * @param phase what is being done, in a few words; another phase begins when it changes
 * @param done from 0 to `total`, never less than before within a phase; need not be whole
 * @param total of this phase
 * @param unit what is counted, in the plural, where it is not what the listener expects
 */
export type OnPhase = (phase: string, done: number, total: number, unit?: string) => void;

/** Told how much of one piece of work is done, of how much. */
export type OnProgress = (done: number, total: number) => void;

/** One phase of somebody's phases, as a plain progress; undefined when nobody listens. */
export function phaseOf(
  onPhase: OnPhase | undefined,
  phase: string,
  unit?: string,
): OnProgress | undefined {
  return onPhase && ((done, total) => onPhase(phase, done, total, unit));
}

/**
 * Part of a piece of work, e.g. the first of two passes over the same texts.
 *
 * @param from share of the whole that is done when the part begins, 0..1
 * @param to share that is done when it ends
 * @example
 * ```ts
 * import { partOf } from "@lib/phases.ts";
 * import { assertEquals } from "@std/assert";
 * const seen: number[] = [];
 * const second = partOf((done) => seen.push(done), 0.5, 1);
 * second?.(0, 10);
 * second?.(10, 10);
 * assertEquals(seen, [5, 10]);
 * ```
 */
export function partOf(
  onProgress: OnProgress | undefined,
  from: number,
  to: number,
): OnProgress | undefined {
  return onProgress &&
    ((done, total) => onProgress(from * total + done * (to - from), total));
}
