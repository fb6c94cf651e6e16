/**
 * Reading, cleaning, grouping, splitting and checking a corpus within the bars: 38,233 rows cleaned
 * and split in 20 s and 1 GB on two cores. The gate runs a smaller one; the whole is
 *
 *     deno test --allow-read tests/corpus/scale_test.ts -- 38233
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

Deno.test(`${ROWS} rows are cleaned and split in time, as planned and without a leak`, async () => {
  const { csv, expected } = await generate();
  // The generator's own data stays in this process and is not what is measured.
  const before = Deno.memoryUsage().rss;
  const started = performance.now();
  const corpus = parseCorpus(csv);
  const { records, report } = cleanStrict(corpus.rows);
  const cleaned = performance.now();
  const split = splitByGroup(groupRecords(records));
  const divided = performance.now();
  const memory = Deno.memoryUsage().rss - before;
  assertNoLeaks(split);
  const checked = performance.now();
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
  if (ROWS < FULL) return;
  const { keptTurns, keptRows } = cleanLegacy(corpus.rows).report;
  if (ROWS === FULL) assertEquals([keptTurns, keptRows], [76_338, 38_105]);
  assert(memory <= 1e9, `clean and split took ${Math.round(memory / 1e6)} MB`);
});
