/**
 * Solutions in a cell's source: `// BEGIN SOLUTION … // END SOLUTION`, with hints that stay.
 *
 * @module
 */

const BEGIN = /^\s*\/\/ BEGIN SOLUTION\s*$/;
const END = /^\s*\/\/ END SOLUTION\s*$/;
const HINT = /^\s*\/\/ Hint:/;

/** Line that stands in the student's version where the solution was. */
export const YOUR_CODE = "// your code here";

/** A solution in a source, by lines from 0: its markers and all between them. */
export interface SolutionRegion {
  readonly first: number;
  readonly last: number;
}

/** Markers that do not pair. */
export class SolutionMarkerError extends Error {
  override readonly name = "SolutionMarkerError";
}

/**
 * Finds the solutions of a source.
 *
 * @throws {SolutionMarkerError} where a marker has no partner
 */
export function solutionRegions(source: string): readonly SolutionRegion[] {
  const regions: SolutionRegion[] = [];
  let first: number | undefined;
  source.split("\n").forEach((line, at) => {
    const [begins, ends] = [BEGIN.test(line), END.test(line)];
    if ((begins && first !== undefined) || (ends && first === undefined)) {
      throw new SolutionMarkerError(
        `Line ${at + 1} of a cell: expected BEGIN SOLUTION and END SOLUTION in turn, found ` +
          `"${line.trim()}". Close each solution before the next one begins.`,
      );
    }
    if (begins) first = at;
    if (ends && first !== undefined) {
      regions.push({ first, last: at });
      first = undefined;
    }
  });
  if (first === undefined) return regions;
  throw new SolutionMarkerError(
    `Line ${first + 1} of a cell: expected an END SOLUTION after BEGIN SOLUTION, found none.`,
  );
}

/**
 * The source as a student gets it: each solution is one line to fill in, below its hints.
 *
 * @example
 * ```ts
 * import { studentSource } from "@lib/teaching/solution.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const solved = ["// BEGIN SOLUTION", "// Hint: add", "return a + b;", "// END SOLUTION"];
 * assertEquals(studentSource(solved.join("\n")), "// Hint: add\n// your code here");
 * ```
 */
export function studentSource(source: string): string {
  const regions = solutionRegions(source);
  const lines = source.split("\n");
  return lines.flatMap((line, at) => {
    const region = regions.find(({ first, last }) => first <= at && at <= last);
    if (!region) return [line];
    if (at === region.last) return [(/^\s*/.exec(line)?.[0] ?? "") + YOUR_CODE];
    return HINT.test(line) ? [line] : [];
  }).join("\n");
}
