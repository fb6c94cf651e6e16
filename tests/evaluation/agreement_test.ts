import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { agreement } from "@lib/evaluation/agreement.ts";
import { gradedAgreement, loadGradedAnswers } from "@lib/evaluation/graded_answers.ts";
import { EMPATHY_CRITERIA } from "@lib/evaluation/rubric.ts";

const GRADED = new URL("./graded_answers.json", import.meta.url).pathname;

Deno.test("weighted κ by hand", () => {
  // Observed Σw = 1 + 4; expected from margins (2,1,1) × (2,1,1): Σw = (1·4 + 4·4 + 1·2) / 4 = 5.5.
  const { exact, weightedKappa, confusion } = agreement([0, 0, 1, 2], [0, 2, 1, 0], 3);
  assertEquals(confusion, [[1, 0, 1], [0, 1, 0], [1, 0, 0]]);
  assertEquals(exact, 0.5);
  assertAlmostEquals(weightedKappa, 1 - 8 / 5.5);
});

Deno.test("κ is 1 for equal ratings, about 0 for unrelated ones", () => {
  assertEquals(agreement([0, 1, 2, 1], [0, 1, 2, 1], 3).weightedKappa, 1);
  const a = Array.from({ length: 900 }, (_, i) => i % 3);
  const b = Array.from({ length: 900 }, (_, i) => Math.floor(i / 3) % 3);
  assertAlmostEquals(agreement(a, b, 3).weightedKappa, 0);
});

Deno.test("ratings that cannot be compared are refused", () => {
  assertThrows(() => agreement([], [], 3), RangeError, "0 and 0 ratings");
  assertThrows(() => agreement([0, 3], [0, 1], 3), RangeError, "found 3 and 1 at 1");
});

Deno.test("the empathy proxy agrees with graded answers, the held-out half included", async () => {
  const graded = await loadGradedAnswers(GRADED);
  assert(graded.length >= 80);
  for (const half of ["build", "held_out"] as const) {
    const part = graded.filter((one) => one.half === half);
    assert(part.length >= 40);
    const found = gradedAgreement(part);
    for (const criterion of EMPATHY_CRITERIA) {
      const { exact, weightedKappa } = found[criterion];
      console.log(
        `${half.padEnd(8)} ${criterion.padEnd(14)} n ${part.length}  exact ${exact.toFixed(2)}  ` +
          `weighted κ ${weightedKappa.toFixed(2)}`,
      );
      assert(exact >= 0.75 && weightedKappa >= 0.667, `${half} ${criterion}: ${weightedKappa}`);
    }
  }
});

Deno.test("no question is in both halves", async () => {
  const graded = await loadGradedAnswers(GRADED);
  const of = (half: string) =>
    new Set(graded.filter((one) => one.half === half).map((one) => one.question));
  assertEquals([...of("build")].filter((question) => of("held_out").has(question)), []);
});
