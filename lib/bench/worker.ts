/** Runs one row of the bench in a process of its own: a failure, or its memory, touches no other. */
import { RowJob, type RowResult } from "@lib/bench/row.ts";
import { ROWS } from "@lib/bench/rows.ts";

/** @throws {RangeError} no such row */
export async function runRow(job: RowJob): Promise<RowResult> {
  const row = ROWS.find(({ name }) => name === job.row);
  if (row === undefined) throw new RangeError(`No row '${job.row}' in the bench`);
  return await row.run(job);
}

if (import.meta.main) {
  const job = RowJob.parse(JSON.parse(Deno.args[0] ?? "null"));
  try {
    await Deno.writeTextFile(job.output, JSON.stringify(await runRow(job)));
  } catch (error) {
    console.error(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
    Deno.exit(1);
  }
}
