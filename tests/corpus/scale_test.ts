/**
 * Reading, cleaning, grouping, splitting and checking a corpus within the bars: 38,233 rows cleaned
 * and split in 20 s and 1 GB on two cores. The gate runs a smaller one; the whole is
 *
 *     deno test --allow-all tests/corpus/scale_test.ts -- 38233
 */
import { assert, assertEquals } from "@std/assert";
import { cleanStrict } from "@lib/corpus/clean.ts";
import { parseCorpus } from "@lib/corpus/csv.ts";
import { groupRecords } from "@lib/corpus/groups.ts";
import { assertNoLeaks } from "@lib/corpus/leak_check.ts";
import { cleanLegacy } from "@lib/corpus/legacy.ts";
import { splitByGroup } from "@lib/corpus/split.ts";
import { generateCorpus, toCsv } from "../../data/generator/corpus.ts";
import { loadSources } from "../../data/generator/topics.ts";

const FULL = 38_233;
const ROWS = Number(Deno.args[0] ?? 6_000);

async function generate(): Promise<{ csv: string; expected: Readonly<Record<string, number>> }> {
  const { rows, manifest } = generateCorpus(await loadSources(), ROWS, 42);
  return { csv: toCsv(rows), expected: manifest.expectedDropped };
}

/** Peak memory, in bytes, of the steps in a process of their own: the generator's data is not theirs. */
async function peakMemory(csv: string): Promise<number> {
  const file = await Deno.makeTempFile({ suffix: ".csv" });
  try {
    await Deno.writeTextFile(file, csv);
    const program = new URL("measure_steps.ts", import.meta.url).pathname;
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", decodeURIComponent(program), file],
    }).output();
    assert(success);
    return Number(new TextDecoder().decode(stdout));
  } finally {
    await Deno.remove(file);
  }
}

Deno.test(`${ROWS} rows are cleaned and split in time, as planned and without a leak`, async () => {
  const { csv, expected } = await generate();
  const started = performance.now();
  const corpus = parseCorpus(csv);
  const { records, report } = cleanStrict(corpus.rows);
  const cleaned = performance.now();
  const split = splitByGroup(groupRecords(records));
  const divided = performance.now();
  assertNoLeaks(split);
  const checked = performance.now();
  const memory = await peakMemory(csv);
  const seconds = (from: number, to: number): string => `${((to - from) / 1000).toFixed(1)} s`;
  console.log(
    `clean ${seconds(started, cleaned)}, group and split ${seconds(cleaned, divided)}, ` +
      `leak check ${seconds(divided, checked)}, ${Math.round(memory / 1e6)} MB; ` +
      `${report.keptRows} rows in ${split.report.groups} groups, the largest ` +
      `${split.report.largestGroup}`,
  );
  for (const [code, count] of Object.entries(expected)) {
    assertEquals(report.dropped[code as keyof typeof report.dropped], count, code);
  }
  assert(split.report.largestGroup < 0.02 * split.report.rows);
  assertEquals(split.report.warnings, []);
  assert(divided - started <= 20_000 * Math.max(0.5, ROWS / FULL), "clean and split took too long");
  assert(memory > 0 && memory <= 1e9, `clean and split took ${Math.round(memory / 1e6)} MB`);
  if (ROWS < FULL) return;
  const { keptTurns, keptRows } = cleanLegacy(corpus.rows).report;
  if (ROWS === FULL) assertEquals([keptTurns, keptRows], [76_338, 38_105]);
});
