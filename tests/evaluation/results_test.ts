import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import {
  bleu,
  chrf,
  compareSystems,
  evaluateAnswers,
  type EvaluationItem,
  EvaluationResults,
  evaluationResults,
  loadEvaluationResults,
  METRIC_IDS,
  metricInfo,
  metricText,
  rouge,
  saveEvaluationResults,
} from "@lib/evaluation/mod.ts";
import { FileReadError } from "@lib/files.ts";
import graded from "./graded_answers.json" with { type: "json" };

const REFERENCES = graded.map((one) => one.answer);
const ITEMS: readonly EvaluationItem[] = graded.map((one, i) => ({
  id: `row ${i}`,
  group: Math.floor(i / 4),
  question: one.question,
  reference: one.answer,
  hypothesis: REFERENCES[(i + 7) % REFERENCES.length] ?? "",
  finish: i % 5 === 0 ? "length" : "stop",
  likelihood: { nll: 50 + i, tokens: 40, textNll: 49 + i },
  similarity: { reference: 0.8 + 0.001 * i, floor: 0.7 - 0.001 * i },
}));
const BETTER = ITEMS.map((item, i) => ({
  ...item,
  hypothesis: i % 2 === 0 ? item.reference : item.hypothesis,
  likelihood: { nll: 30 + i, tokens: 40, textNll: 29 + i },
}));
const CONTEXT = {
  run: "test",
  base_model: "data/tiny-llama",
  quantization: "nf4_double",
  system_prompt: "…",
  generation: resolveConfig().generation,
  seed: 42,
};
const BASE = evaluateAnswers(ITEMS);
const TUNED = evaluateAnswers(BETTER);

Deno.test("the report's numbers are those of the functions beside it", () => {
  const hyps = ITEMS.map((item) => metricText(item.hypothesis));
  const refs = ITEMS.map((item) => metricText(item.reference));
  const { metrics, items } = BASE.report;
  assertAlmostEquals(metrics.bleu.value ?? NaN, bleu(hyps, refs).score);
  assertAlmostEquals(metrics.bleu_1.value ?? NaN, bleu(hyps, refs, { maxOrder: 1 }).score);
  assertAlmostEquals(metrics.chrf_pp.value ?? NaN, chrf(hyps, refs).score);
  assertAlmostEquals(metrics.rouge_2.value ?? NaN, rouge(hyps, refs).rouge2);
  const one = (i: number) => [[hyps[i] ?? ""], [refs[i] ?? ""]] as const;
  assertAlmostEquals(items[3]?.bleu ?? NaN, bleu(...one(3), { effectiveOrder: true }).score);
  assertAlmostEquals(items[3]?.chrf_pp ?? NaN, chrf(...one(3)).score);
  assertEquals(items[3]?.id, "row 3");
});

Deno.test("every metric has a value inside its interval, and a description", () => {
  for (const id of METRIC_IDS) {
    const { n, ...estimate } = BASE.report.metrics[id];
    const [value = NaN, low = NaN, high = NaN] = Object.values(estimate).map((x) => x ?? NaN);
    assert(low <= value + 1e-9 && value <= high + 1e-9, `${id}: ${low} ${value} ${high}`);
    assertEquals(n, ITEMS.length);
    assert(metricInfo(id).label.length > 0);
  }
});

Deno.test("what was not measured is null, with n = 0", () => {
  const bare = ITEMS.map(({ likelihood: _, finish: __, similarity: ___, ...item }) => item);
  const { metrics } = evaluateAnswers(bare).report;
  const none = { value: null, low: null, high: null, n: 0 };
  assertEquals([metrics.perplexity, metrics.bits_per_byte, metrics.hit_cap], [none, none, none]);
  assertEquals([metrics.semantic, metrics.semantic_floor], [none, none]);
  const part = evaluateAnswers(
    ITEMS.map((item, i) => i === 0 ? item : { ...item, likelihood: null }),
  );
  assertEquals(part.report.metrics.perplexity.n, 1);
  assertAlmostEquals(part.report.metrics.perplexity.value ?? NaN, Math.exp(50 / 40));
});

Deno.test("differences are tuned − base, paired, with p", () => {
  const differences = compareSystems(BASE, TUNED);
  const { base, tuned, difference, low, high, p_value, n } = differences.rouge_l;
  assertEquals(n, ITEMS.length);
  assertAlmostEquals(difference ?? NaN, (tuned ?? NaN) - (base ?? NaN));
  assert((low ?? NaN) > 0 && (high ?? NaN) > (low ?? NaN) && (p_value ?? NaN) < 0.01);
  assert((differences.perplexity.difference ?? 0) < 0);
});

Deno.test("systems on different items, or drawn differently, cannot be compared", () => {
  assertThrows(
    () => compareSystems(BASE, evaluateAnswers(BETTER.toReversed())),
    RangeError,
    "same items in the same order",
  );
  assertThrows(() => compareSystems(BASE, evaluateAnswers(BETTER.slice(1))), RangeError);
  assertThrows(
    () => compareSystems(BASE, evaluateAnswers(BETTER, { seed: 1 })),
    RangeError,
    "seeds 12345 and 1",
  );
  assertThrows(() => evaluateAnswers([]), RangeError, "Generate answers first");
});

Deno.test("the floor is what answers to other questions get", () => {
  const own = evaluateAnswers(ITEMS.map((item) => ({ ...item, hypothesis: item.reference })));
  const { floor, metrics } = own.report;
  assert((floor?.rouge_l ?? NaN) < 0.3);
  assert((floor?.empathy ?? NaN) < (metrics.empathy.value ?? NaN) - 5);
  const single = evaluateAnswers(ITEMS.map((item) => ({ ...item, group: 0 })));
  assertEquals(single.report.floor, null);
});

Deno.test("the results file survives writing and reading, and states its limits", async () => {
  const results = evaluationResults(CONTEXT, BASE, TUNED);
  assert(results.notes.some((note) => note.includes("not clinically validated")));
  assert(results.notes.some((note) => note.includes("not google rouge_score")));
  assertEquals(results.reference.empathy.n, ITEMS.length);
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/evaluation_results.json`;
    await saveEvaluationResults(path, results);
    assertEquals(await loadEvaluationResults(path), EvaluationResults.parse(results));
    await Deno.writeTextFile(path, JSON.stringify({ ...results, bleu: 1 }));
    await assertRejects(() => loadEvaluationResults(path), FileReadError, "bleu");
    await Deno.remove(path);
    await assertRejects(() => loadEvaluationResults(path), FileReadError, "05_metrics");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("743 items of two systems are evaluated and compared in time", () => {
  const many = (items: readonly EvaluationItem[]) =>
    Array.from({ length: 743 }, (_, i) => ({ ...items[i % items.length]!, group: i }));
  const begun = performance.now();
  const results = evaluationResults(
    CONTEXT,
    evaluateAnswers(many(ITEMS)),
    evaluateAnswers(many(BETTER)),
  );
  const seconds = (performance.now() - begun) / 1000;
  assertEquals(results.n, 743);
  // 4 s on two idle cores; the bound allows for a busy machine.
  assert(seconds < 20, `${seconds} s`);
});

Deno.test("a file of an older version is read, what it lacks as not measured", () => {
  const results = evaluationResults(CONTEXT, BASE, TUNED);
  const without = <T extends object>(metrics: T) =>
    Object.fromEntries(Object.entries(metrics).filter(([id]) => !id.startsWith("semantic")));
  const { systems, differences, signatures } = results;
  const { semantic: _, ...older } = signatures;
  const read = EvaluationResults.parse({
    ...results,
    signatures: older,
    differences: without(differences),
    systems: {
      base: { ...systems.base, metrics: without(systems.base.metrics) },
      tuned: { ...systems.tuned, metrics: without(systems.tuned.metrics) },
    },
  });
  assertEquals([read.differences.semantic.n, read.signatures.semantic], [0, null]);
  assertEquals(read.differences.bleu, differences.bleu);
});
