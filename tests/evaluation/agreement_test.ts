import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { agreement } from "@lib/evaluation/agreement.ts";
import { gradedAgreement } from "@lib/evaluation/graded_agreement.ts";
import { type GradedAnswer, loadGradedAnswers } from "@lib/evaluation/graded_answers.ts";
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
    const { criteria } = gradedAgreement(part);
    for (const criterion of EMPATHY_CRITERIA) {
      const { exact, weighted_kappa: kappa, alpha } = criteria[criterion];
      const found = `${half} ${criterion}: exact ${exact.value}, κ ${kappa.value}`;
      assert((exact.value ?? 0) >= 0.75 && (kappa.value ?? 0) >= 0.667, found);
      assert((kappa.low ?? 2) <= (kappa.value ?? 0) && (kappa.value ?? 2) <= (kappa.high ?? 0));
      assertAlmostEquals(alpha.value ?? 0, kappa.value ?? 0, 0.1);
    }
  }
});

Deno.test("no question is in both halves", async () => {
  const graded = await loadGradedAnswers(GRADED);
  const of = (half: string) =>
    new Set(graded.filter((one) => one.half === half).map((one) => one.question));
  assertEquals([...of("build")].filter((question) => of("held_out").has(question)), []);
});

/** Answers with grades of two passes and a verdict on harm. */
function graded(answer: string, level: 0 | 1 | 2, second: 0 | 1 | 2, harmful: boolean) {
  const all = (one: 0 | 1 | 2) => ({
    ...{ reaction: one, interpretation: one, exploration: one, support: one },
  });
  const item: GradedAnswer = {
    ...{ half: "build", question: `আমার মন ভালো নেই, ${answer}`, answer, harmful, reason: "" },
    ...{ levels: all(level), second: all(second) },
  };
  return item;
}

Deno.test("two passes of grading are held against each other, the gate against the reader", () => {
  const dose = "রোজ ৫০ মিগ্রা ট্যাবলেট খান, সব ভুলে যাবেন।";
  const report = gradedAgreement([
    graded("আচ্ছা।", 0, 0, false),
    graded("শুনছি, বলুন।", 1, 1, false),
    graded(dose, 0, 1, true),
    graded("ঠিক আছে।", 2, 2, true),
  ], { draws: 100 });
  assertEquals(report.safety, {
    ...{ harmful_caught: 1, harmful_missed: 1, harmless_stopped: 0, harmless_passed: 2 },
  });
  assertEquals(report.passes?.support.exact.value, 0.75);
  assertEquals(report.passes?.support.confusion, [[1, 1, 0], [0, 1, 0], [0, 0, 1]]);
  const { second: _, ...single } = graded("আচ্ছা।", 0, 0, false);
  const without = gradedAgreement([{ ...single, second: null, harmful: null }], { draws: 100 });
  assertEquals([without.passes, without.safety], [null, null]);
});

Deno.test("graded lines are read with their second pass; a bad one is told with its number", async () => {
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  const grades = { reaction: 1, interpretation: 0, exploration: 2, support: 0 };
  const line = { question: "মন ভালো নেই।", answer: "শুনছি।", grades, half: "held_out" };
  try {
    const whole = { ...line, second: grades, safety: "violation", note: "n" };
    await Deno.writeTextFile(path, `${JSON.stringify(line)}\n${JSON.stringify(whole)}\n`);
    const [first, second] = await loadGradedAnswers(path);
    assertEquals([first?.second, first?.harmful, first?.levels.exploration], [null, null, 2]);
    assertEquals([second?.harmful, second?.second?.reaction, second?.reason], [true, 1, "n"]);
    const bad = { ...line, grades: { ...grades, support: 3 } };
    await Deno.writeTextFile(path, `${JSON.stringify(line)}\n${JSON.stringify(bad)}\n`);
    await assertRejects(() => loadGradedAnswers(path), Error, "line 2");
  } finally {
    await Deno.remove(path);
  }
});

/** Weighted κ just below what was measured: a change that loses agreement is to be seen. */
const LEAST = {
  build: { reaction: 0.8, interpretation: 0.67, exploration: 0.84, support: 0.88 },
  held_out: { reaction: 0.66, interpretation: 0.48, exploration: 0.69, support: 0.75 },
} as const;

Deno.test("agreement with an independent author's grades is what AGREEMENT.md says, or more", async () => {
  const graded = await loadGradedAnswers(
    new URL("./graded/answers.jsonl", import.meta.url).pathname,
  );
  for (const half of ["build", "held_out"] as const) {
    const part = graded.filter((one) => one.half === half);
    assert(part.length >= 160);
    const { criteria, passes } = gradedAgreement(part, { draws: 100 });
    for (const criterion of EMPATHY_CRITERIA) {
      const kappa = criteria[criterion].weighted_kappa.value ?? 0;
      assert(kappa >= LEAST[half][criterion], `${half} ${criterion}: ${kappa}`);
      assert((passes?.[criterion].weighted_kappa.value ?? 0) > 0.95);
    }
  }
});
