import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { agreement } from "@lib/evaluation/agreement.ts";
import { krippendorffAlpha } from "@lib/evaluation/krippendorff.ts";
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";
import {
  alphaVerdict,
  analyzeStudy,
  pairAgreement,
  studyAgreement,
  systemComparisons,
} from "@lib/study/analysis.ts";
import { holm } from "@lib/study/holm.ts";
import { StudyError, studyItems, type StudySystem } from "@lib/study/items.ts";
import { criterionLevels, ratingTable } from "@lib/study/rating_table.ts";
import { signFlipTest } from "@lib/study/sign_flip.ts";
import { type LevelShares, syntheticRatings, trueMean } from "@lib/study/synthetic.ts";

const items = (count: number) => Array.from({ length: count }, (_, i) => ({ row: i, group: i }));
const RATERS = ["ক", "খ", "গ"];
const SHARES: Readonly<Record<StudySystem, LevelShares>> = {
  base: [0.6, 0.3, 0.1],
  tuned: [0.3, 0.4, 0.3],
  reference: [0.15, 0.35, 0.5],
};
const DRAWS = { draws: 100, flips: 1000 };

Deno.test("the analysis recovers the agreement that made-up raters were given", () => {
  for (const attention of [1, 0.9, 0.6, 0]) {
    const ratings = syntheticRatings(items(1000), { raters: RATERS, attention, seed: 8 });
    const table = ratingTable(ratings);
    for (const { alpha, verdict, units } of studyAgreement(table, DRAWS)) {
      assertAlmostEquals(alpha.value, attention ** 2, 0.04, `attention ${attention}`);
      assertEquals([verdict, units], [alphaVerdict(alpha.value), 3000]);
    }
    const pairs = pairAgreement(table, DRAWS);
    assertEquals(pairs.length, 3 * EMPATHY_CRITERIA.length);
    for (const { kappa } of pairs) assertAlmostEquals(kappa.value, attention ** 2, 0.05);
  }
});

Deno.test("95 % intervals of α hold the known agreement about as often as they say", () => {
  const attention = 0.85;
  let held = 0;
  const studies = 60;
  for (let seed = 0; seed < studies; seed++) {
    const ratings = syntheticRatings(items(50), { raters: RATERS, attention, seed });
    const { alpha } = studyAgreement(ratingTable(ratings), { draws: 200, seed })[0]!;
    if (alpha.low <= attention ** 2 && attention ** 2 <= alpha.high) held++;
  }
  // 95 % of 60 are 57; the percentile bootstrap is a little narrow with 50 questions.
  assert(held >= 52 && held <= 60, `${held} of ${studies}`);
});

Deno.test("means and differences of systems are those they were given, shrunk by inattention", () => {
  const attention = 0.8;
  const ratings = syntheticRatings(items(800), {
    raters: RATERS,
    attention,
    seed: 3,
    shares: SHARES,
  });
  const { comparisons, means, places } = analyzeStudy(ratingTable(ratings), DRAWS);
  const gap = trueMean(SHARES.tuned) - trueMean(SHARES.base);
  const gains = comparisons.filter(({ measure, systems }) =>
    measure !== "score" && systems.join() === "tuned,base"
  );
  for (const { value, holm, n } of gains) {
    assertAlmostEquals(value, attention * gap, 0.1);
    assert(n === 800 && holm < 0.05);
  }
  const held = gains.filter(({ low, high }) => low <= attention * gap && attention * gap <= high);
  assert(gains.length === 4 && held.length >= 3, "intervals of 95 % hold the known difference");
  const score = means.find(({ measure, system }) => measure === "score" && system === "tuned")!;
  const pooled = (trueMean(SHARES.base) + trueMean(SHARES.tuned) + trueMean(SHARES.reference)) / 3;
  const expected = attention * trueMean(SHARES.tuned) + (1 - attention) * pooled;
  assertAlmostEquals(score.value, expected / 2 * 100, 2);
  assertEquals(comparisons.length, 15);
  for (const place of places) {
    assertAlmostEquals(place.value, pooled / 2 * 100, 2, "order shows nothing");
  }
});

Deno.test("where systems do not differ, Holm keeps chance findings rare", () => {
  const same: LevelShares = [0.3, 0.4, 0.3];
  const shares = { base: same, tuned: same, reference: same };
  let fooled = 0;
  for (let seed = 0; seed < 40; seed++) {
    const ratings = syntheticRatings(items(24), { raters: RATERS, attention: 0.8, seed, shares });
    const comparisons = systemComparisons(ratingTable(ratings), { ...DRAWS, seed });
    if (comparisons.some((one) => one.holm <= 0.05)) fooled++;
  }
  // At most 5 % of 40 studies are expected: two; seven would be a chance of 1 in 300.
  assert(fooled <= 6, `${fooled} of 40 studies`);
});

Deno.test("raters who stopped early leave gaps, not wrong numbers", () => {
  const ratings = syntheticRatings(items(400), {
    raters: RATERS,
    attention: 0.8,
    seed: 4,
    coverage: 0.5,
  });
  const table = ratingTable(ratings);
  const { agreement, ratings: count, questions } = analyzeStudy(table, DRAWS);
  assertEquals(count, 3 * 200 * 3);
  assert(questions > 300 && questions <= 400);
  for (const { alpha, units } of agreement) {
    assertAlmostEquals(alpha.value, 0.64, 0.1);
    assert(units < 3 * questions);
  }
  const levels = table.units.map((unit) => criterionLevels(unit, "support"));
  assertEquals(agreement[3]?.alpha.value, krippendorffAlpha(levels, { levels: 3 }));
});

Deno.test("pairwise κ is that of the two raters' common answers; a second rating replaces the first", () => {
  const first = syntheticRatings(items(40), { raters: ["ক", "খ"], attention: 0.7, seed: 1 });
  const again = syntheticRatings(items(40), { raters: ["খ"], attention: 0.1, seed: 2 });
  const table = ratingTable([...first, ...again]);
  const pairs = pairAgreement(table, DRAWS);
  const both = table.units.map((unit) => criterionLevels(unit, "reaction")).map((
    [a, b],
  ) => [a ?? 0, b ?? 0]);
  const expected = agreement(both.map(([a = 0]) => a), both.map(([, b = 0]) => b), 3).weightedKappa;
  assertEquals(pairs[0]?.kappa.value, expected);
  assert(expected < 0.4, "the later, careless ratings count");
});

Deno.test("ratings of different studies are not thrown together", () => {
  const ratings = syntheticRatings(items(3), { raters: ["ক"], attention: 1, seed: 1 });
  const other = ratings.map((one) => ({ ...one, study: "other" }));
  assertThrows(() => ratingTable([...ratings, ...other]), StudyError, "found those of 2");
  assertThrows(() => ratingTable([]), StudyError, "found those of 0");
});

Deno.test("Holm's values are those of R's p.adjust", () => {
  // p.adjust(c(.011, .02, .04, .005, .3), "holm")
  const expected = [0.044, 0.06, 0.08, 0.025, 0.3];
  holm([0.011, 0.02, 0.04, 0.005, 0.3]).forEach((p, i) =>
    assertAlmostEquals(p, expected[i]!, 1e-12)
  );
  assertThrows(() => holm([1.2]), RangeError);
});

Deno.test("the sign-flip test agrees with counting all signs", () => {
  const differences = [0.5, -0.25, 1, 0.75, 0.25, -0.5, 1, 0.5];
  const observed = Math.abs(differences.reduce((a, b) => a + b));
  let beyond = 0;
  for (let signs = 0; signs < 256; signs++) {
    const sum = differences.reduce((total, one, i) => total + (signs >> i & 1 ? one : -one), 0);
    if (Math.abs(sum) >= observed - 1e-12) beyond++;
  }
  assertAlmostEquals(signFlipTest(differences, { draws: 40_000 }), beyond / 256, 0.006);
});

Deno.test("a study takes one question a group that both systems answered, the same for a seed", () => {
  const answer = (row: number, group: number, system: "base" | "tuned") => ({
    ...{ row, group, system, topic: "", question: `প্রশ্ন ${row}`, reference: `মূল ${row}` },
    ...{ answer: `${system} ${row}`, tokens: 1, finish: "stop" as const, logprob: 0 },
  });
  const results = {
    ...{
      format: 1 as const,
      run: "r",
      base_model: "m",
      quantization: "nf4",
      system_prompt: "",
      seed: 1,
    },
    generation: {} as never,
    answers: [
      ...[1, 2, 3, 4].flatMap((
        row,
      ) => [answer(row, row >> 1, "base"), answer(row, row >> 1, "tuned")]),
      answer(9, 9, "base"),
    ],
  };
  const chosen = studyItems(results, 10, 1);
  assertEquals(chosen.map(({ group }) => group).toSorted(), [0, 1, 2]);
  assertEquals(studyItems(results, 10, 1), chosen);
  assertEquals(studyItems(results, 2, 1), chosen.slice(0, 2));
  const first = chosen[0]!;
  assertEquals(first.answers, {
    ...{ base: `base ${first.row}`, tuned: `tuned ${first.row}`, reference: `মূল ${first.row}` },
  });
  assertThrows(
    () => studyItems({ ...results, answers: [] }, 1, 1),
    StudyError,
    "deno task generate",
  );
});
