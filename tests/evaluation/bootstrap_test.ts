import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { bleuTable } from "@lib/evaluation/bleu.ts";
import {
  bootstrapInterval,
  bootstrapScores,
  drawGroups,
  pairedDifference,
  percentileInterval,
} from "@lib/evaluation/bootstrap.ts";
import { seededRandom } from "@lib/random.ts";
import { meanTable, ratioTable, scoreOf, statisticsOf } from "@lib/evaluation/statistics.ts";

const random = seededRandom(1);
const VALUES = Array.from({ length: 400 }, () => random());
const SINGLE = VALUES.map((_, i) => i);

Deno.test("the interval of a mean is the textbook one", () => {
  const { value, low, high } = bootstrapInterval(meanTable(VALUES), drawGroups(SINGLE));
  const variance = VALUES.reduce((sum, x) => sum + (x - value) ** 2, 0) / VALUES.length;
  const half = 1.96 * Math.sqrt(variance / VALUES.length);
  assertAlmostEquals(low, value - half, half * 0.12);
  assertAlmostEquals(high, value + half, half * 0.12);
});

Deno.test("one seed gives one interval, another seed another", () => {
  const draw = (seed: number) => bootstrapInterval(meanTable(VALUES), drawGroups(SINGLE, { seed }));
  assertEquals(draw(12345), draw(12345));
  assert(draw(12345).low !== draw(6).low);
});

Deno.test("items of one group are drawn together: copies do not narrow the interval", () => {
  const copies = VALUES.flatMap((value) => [value, value, value, value]);
  const byGroup = drawGroups(copies.map((_, i) => Math.floor(i / 4)));
  const byItem = drawGroups(copies.map((_, i) => i));
  const width = (draws: typeof byGroup): number => {
    const { low, high } = bootstrapInterval(meanTable(copies), draws);
    return high - low;
  };
  const honest = bootstrapInterval(meanTable(VALUES), drawGroups(SINGLE));
  assertAlmostEquals(width(byGroup), honest.high - honest.low, 1e-12);
  assertAlmostEquals(width(byItem) / width(byGroup), 0.5, 0.1);
});

Deno.test("each draw scores the drawn texts themselves", () => {
  const hyps = ["মন ভালো নেই আজ সকালে", "একা লাগে খুব এখানে বসে", "ঘুম আসে না রাতে আর"];
  const refs = ["মন ভালো নেই আজ", "একা লাগে খুব আজকাল এখানে", "ঘুম আসে না রাতে আর"];
  const draws = drawGroups([0, 1, 2], { draws: 100 });
  const scores = bootstrapScores(bleuTable(hyps, refs), draws);
  for (let d = 0; d < 100; d++) {
    const picks = [...draws.picks.subarray(3 * d, 3 * d + 3)];
    const table = bleuTable(picks.map((i) => hyps[i] ?? ""), picks.map((i) => refs[i] ?? ""));
    assertAlmostEquals(scores[d] ?? NaN, scoreOf(table), 1e-9);
  }
});

Deno.test("percentiles interpolate and leave out what is undefined", () => {
  const scores = Float64Array.from([...Array.from({ length: 41 }, (_, i) => 40 - i), NaN]);
  assertEquals(percentileInterval(scores), { low: 1, high: 39 });
});

Deno.test("a paired difference is tighter than two intervals, and p falls with it", () => {
  const better = VALUES.map((value, i) => value + 0.02 + 0.01 * (i % 3 - 1));
  const draws = drawGroups(SINGLE);
  const { value, low, high, pValue } = pairedDifference(
    meanTable(VALUES),
    meanTable(better),
    draws,
  );
  assertAlmostEquals(value, 0.02, 1e-4);
  assert(low > 0.018 && high < 0.022);
  assertAlmostEquals(pValue, 1 / 1001);
});

Deno.test("p by sacreBLEU's formula, on differences known by hand", () => {
  const a = VALUES.map(() => 0);
  const noise = VALUES.map((value) => value - 0.5);
  const draws = drawGroups(SINGLE);
  const { value, pValue } = pairedDifference(meanTable(a), meanTable(noise), draws);
  const sizes = [...bootstrapScores(meanTable(noise), draws)].map(Math.abs);
  const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
  const beyond = sizes.filter((size) => size - mean > Math.abs(value)).length;
  assertAlmostEquals(pValue, (beyond + 1) / 1001);
  assert(beyond > 10 && beyond < 990, `a test on ${beyond} of 1000 shows nothing`);
});

Deno.test("a system does not differ from itself", () => {
  const draws = drawGroups(SINGLE);
  assertEquals(pairedDifference(meanTable(VALUES), meanTable(VALUES), draws), {
    value: 0,
    low: 0,
    high: 0,
    pValue: 1,
  });
});

Deno.test("1,000 draws over 1,000 items take less than a second", () => {
  const rows = Array.from({ length: 1000 }, (_, i) => Array.from({ length: 24 }, (_, j) => i + j));
  const table = {
    statistics: statisticsOf(rows, 24),
    score: (sums: Float64Array) => (sums[0] ?? 0) / (sums[23] ?? 1),
  };
  const begun = performance.now();
  bootstrapInterval(table, drawGroups(rows.map((_, i) => i)));
  assert(performance.now() - begun < 1000);
});

Deno.test("what cannot be drawn or summed is refused with what was found", () => {
  assertThrows(() => drawGroups([]), RangeError, "at least one item");
  assertThrows(() => drawGroups([1], { draws: 10 }), RangeError, "found 10");
  assertThrows(() => statisticsOf([[1, 2], [1]], 2), RangeError, "row 1, found 1");
  assertThrows(
    () => bootstrapScores(ratioTable([[1, 1]]), drawGroups([1, 2])),
    RangeError,
    "expected statistics of 2 items, found 1",
  );
});
