/** Runs one row of the bench in a process of its own: a failure, or its memory, touches no other. */
import { RowJob, type RowProgress, type RowResult } from "@lib/bench/row.ts";
import type { OnProgress } from "@lib/phases.ts";
import { ROWS } from "@lib/bench/rows.ts";

/** @throws {RangeError} no such row */
export async function runRow(job: RowJob, onProgress?: OnProgress): Promise<RowResult> {
  const row = ROWS.find(({ name }) => name === job.row);
  if (row === undefined) throw new RangeError(`No row '${job.row}' in the bench`);
  return await row.run(job, onProgress);
}

/** A line for the process that shows it, at most ten a second. */
function teller(): OnProgress {
  let told = -Infinity;
  return (done, total) => {
    const now = performance.now();
    if (now - told < 100 && done < total) return;
    told = now;
    console.log(JSON.stringify({ done, total } satisfies RowProgress));
  };
}

if (import.meta.main) {
  const tell = teller();
  const job = RowJob.parse(JSON.parse(Deno.args[0] ?? "null"));
  try {
    await Deno.writeTextFile(job.output, JSON.stringify(await runRow(job, tell)));
  } catch (error) {
    console.error(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
    Deno.exit(1);
  }
}
