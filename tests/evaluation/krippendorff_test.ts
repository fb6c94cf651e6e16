import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { agreement, kappaTable } from "@lib/evaluation/agreement.ts";
import { bootstrapInterval, drawGroups } from "@lib/evaluation/bootstrap.ts";
import { alphaTable, krippendorffAlpha } from "@lib/evaluation/krippendorff.ts";
import { seededRandom } from "@lib/random.ts";

/** Krippendorff's own example: 12 units, 4 observers, levels 1..5, gaps. */
const OBSERVERS = [
  [1, 2, 3, 3, 2, 1, 4, 1, 2, null, null, null],
  [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, null, 3],
  [null, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, null],
  [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, null],
] as const;
const UNITS = OBSERVERS[0].map((_, unit) =>
  OBSERVERS.map((ratings) => {
    const rating = ratings[unit] ?? null;
    return rating === null ? null : rating - 1;
  })
);

Deno.test("α of Krippendorff's published example, on three scales", () => {
  const of = (scale: "nominal" | "ordinal" | "interval") =>
    krippendorffAlpha(UNITS, { levels: 5, scale });
  assertAlmostEquals(of("nominal"), 0.743, 5e-4);
  assertAlmostEquals(of("ordinal"), 0.815, 5e-4);
  assertAlmostEquals(of("interval"), 0.849, 5e-4);
});

Deno.test("α is 1 for equal ratings, about 0 for unrelated ones, below 0 for opposed ones", () => {
  const random = seededRandom(7);
  const draw = () => Math.floor(3 * random());
  const unrelated = Array.from({ length: 3000 }, () => [draw(), draw()]);
  assertEquals(krippendorffAlpha([[0, 0], [1, 1], [2, 2]], { levels: 3 }), 1);
  assertAlmostEquals(krippendorffAlpha(unrelated, { levels: 3 }), 0, 0.05);
  assert(krippendorffAlpha([[0, 2], [2, 0], [0, 2]], { levels: 3 }) < 0);
});

Deno.test("a unit with one rating says nothing; without any pair α is undefined", () => {
  const without = krippendorffAlpha([[0, 0], [1, 2]], { levels: 3 });
  assertEquals(
    krippendorffAlpha([[0, 0], [1, 2], [2, null], [null, null]], { levels: 3 }),
    without,
  );
  assert(Number.isNaN(krippendorffAlpha([[0, null]], { levels: 3 })));
});

Deno.test("for two raters and many items, ordinal α is close to weighted κ on even margins", () => {
  const random = seededRandom(3);
  const first = Array.from({ length: 2000 }, () => Math.floor(3 * random()));
  const second = first.map((level) => random() < 0.7 ? level : Math.floor(3 * random()));
  const alpha = krippendorffAlpha(first.map((a, i) => [a, second[i] ?? 0]), { levels: 3 });
  assertAlmostEquals(alpha, agreement(first, second, 3).weightedKappa, 0.01);
  assertAlmostEquals(alpha, 0.7, 0.05);
});

Deno.test("intervals by group: copies of a question do not narrow them", () => {
  const random = seededRandom(5);
  const first = Array.from({ length: 150 }, () => Math.floor(3 * random()));
  const second = first.map((level) => random() < 0.6 ? level : Math.floor(3 * random()));
  const copies = (list: readonly number[]) => list.flatMap((one) => [one, one, one]);
  const single = drawGroups(first.map((_, i) => i));
  const grouped = drawGroups(copies(first.map((_, i) => i)));
  const kappa = bootstrapInterval(kappaTable(first, second, 3), single);
  const kappaCopied = bootstrapInterval(kappaTable(copies(first), copies(second), 3), grouped);
  assertAlmostEquals(kappa.low, kappaCopied.low, 1e-12);
  const units = copies(first).map((a, i) => [a, copies(second)[i] ?? 0]);
  const alpha = bootstrapInterval(alphaTable(units, { levels: 3 }), grouped);
  assert(alpha.low < alpha.value && alpha.value < alpha.high && alpha.high - alpha.low > 0.1);
});

Deno.test("a rating outside the levels is refused with its place", () => {
  assertThrows(() => krippendorffAlpha([[0, 1], [3, 1]], { levels: 3 }), RangeError, "unit 1");
  assertThrows(() => kappaTable([0.5], [1], 3), RangeError, "found 0.5 and 1 at 0");
});
