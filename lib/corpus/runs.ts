/**
 * Dialogues in a flattened corpus. The CSV has one row a speaker–listener pair and no dialogue
 * number; pairs of one dialogue stand next to each other under one topic.
 *
 * A file sorted by topic has runs of thousands of rows that are no dialogue. EmpatheticDialogues'
 * dialogues have four to eight turns, so at most four rows; two dialogues of one topic may be
 * neighbours by chance. A run of more than {@linkcode MAX_RUN} rows is therefore cut where the title
 * changes, and a piece that is still longer into blocks of {@linkcode MAX_RUN}.
 *
 * @module
 */

/** Longest run of same-topic rows taken for one dialogue: two dialogues of four rows. */
export const MAX_RUN = 8;

/** What tells where a dialogue ends. */
export interface RunRow {
  readonly topic: string;
  readonly title: string;
}

/** A run number for each row, and how many runs were too long to be a dialogue. */
export interface Runs {
  /** Per row the number of its run, from 1, ascending. */
  readonly runs: readonly number[];
  /** Runs of same-topic rows longer than the limit, which were cut. */
  readonly longRuns: number;
  /** Length of the longest run of same-topic rows, before cutting. */
  readonly longestRun: number;
}

const clean = (text: string): string => text.normalize("NFC").replace(/\s+/gu, " ").trim();

/** Lengths of the pieces into which neighbours with equal values fall. */
function pieceLengths(values: readonly string[]): number[] {
  const lengths: number[] = [];
  values.forEach((value, i) => {
    if (i > 0 && value === values[i - 1]) lengths[lengths.length - 1]!++;
    else lengths.push(1);
  });
  return lengths;
}

/**
 * Number the runs of contiguous rows with the same topic. Rows without a topic belong together only
 * when they share a title.
 *
 * @param maxRun Longest run taken as it is.
 * @example
 * ```ts
 * import { conversationRuns } from "@lib/corpus/runs.ts";
 * import { assertEquals } from "@std/assert";
 * const rows = ["[গর্বিত]", "[গর্বিত]", "[ভীত]"].map((topic) => ({ topic, title: "" }));
 * assertEquals(conversationRuns(rows).runs, [1, 1, 2]);
 * ```
 */
export function conversationRuns(rows: readonly RunRow[], maxRun: number = MAX_RUN): Runs {
  const titles = rows.map((row, i) => clean(row.title) || `\u0000${i}`);
  const topics = rows.map((row, i) => clean(row.topic) || `\u0000${titles[i]}`);
  const runs: number[] = [];
  let run = 0;
  let start = 0;
  let longRuns = 0;
  let longestRun = 0;
  for (const length of pieceLengths(topics)) {
    longestRun = Math.max(longestRun, length);
    const end = start + length;
    if (length <= maxRun) {
      run++;
      for (; start < end; start++) runs.push(run);
      continue;
    }
    longRuns++;
    const named = rows.slice(start, end).map((row) => clean(row.title));
    for (const piece of pieceLengths(named)) {
      for (let k = 0; k < piece; k++) {
        if (k % maxRun === 0) run++;
        runs.push(run);
      }
    }
    start = end;
  }
  return { runs, longRuns, longestRun };
}
