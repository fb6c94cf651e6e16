import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { bleuTable } from "@lib/evaluation/bleu.ts";
import {
  bootstrapScores,
  type Draws,
  pairedDifference,
  percentileInterval,
} from "@lib/evaluation/bootstrap.ts";
import { chrfTable } from "@lib/evaluation/chrf.ts";
import { type MetricTable, scoreOf } from "@lib/evaluation/statistics.ts";
import golden from "../golden/metrics/bootstrap.json" with { type: "json" };

const TOLERANCE = 1e-6;
const ITEMS = golden.references.length;
/** sacreBLEU's own draws: every item its own group. */
const DRAWS: Draws = {
  draws: golden.draws,
  groups: ITEMS,
  groupOfItem: Uint32Array.from({ length: ITEMS }, (_, i) => i),
  picks: Uint32Array.from(Uint8Array.fromBase64(golden.picks)),
};
const METRICS = {
  bleu_intl: (hyps: readonly string[]) => bleuTable(hyps, golden.references),
  "chrf++": (hyps: readonly string[]) => chrfTable(hyps, golden.references),
} as const satisfies Record<string, (hyps: readonly string[]) => MetricTable>;
const CASES = (["clearly_worse", "hardly_other", "mixed", "shuffled"] as const).flatMap((name) =>
  (["bleu_intl", "chrf++"] as const).map((metric) => ({
    name: `${name}, ${metric}`,
    expected: golden.comparisons[name].metrics[metric],
    base: METRICS[metric](golden.base),
    other: METRICS[metric](golden.comparisons[name].hypotheses),
  }))
);

/** sacreBLEU's interval: the mean of the draws and half the distance of two order statistics. */
function sacrebleuInterval(scores: Float64Array) {
  const sorted = scores.toSorted();
  const cut = Math.floor(sorted.length / 40);
  const mean = sorted.reduce((sum, score) => sum + score, 0) / sorted.length;
  return { mean, ci: ((sorted.at(-cut - 1) ?? NaN) - (sorted[cut] ?? NaN)) / 2 };
}

Deno.test("sacreBLEU's draws, fed in, give its score in every draw", () => {
  assertEquals(CASES.length, 8);
  for (const { name, expected, base, other } of CASES) {
    assertAlmostEquals(scoreOf(base), expected.base, TOLERANCE, name);
    assertAlmostEquals(scoreOf(other), expected.other, TOLERANCE, name);
    const before = bootstrapScores(base, DRAWS);
    const after = bootstrapScores(other, DRAWS);
    for (let d = 0; d < golden.draws; d++) {
      assertAlmostEquals(before[d] ?? NaN, expected.base_draws[d] ?? NaN, TOLERANCE, name);
      assertAlmostEquals(after[d] ?? NaN, expected.other_draws[d] ?? NaN, TOLERANCE, name);
    }
  }
});

Deno.test("p-values of the paired bootstrap are sacreBLEU's", () => {
  for (const { name, expected, base, other } of CASES) {
    const { value, pValue } = pairedDifference(base, other, DRAWS);
    assertAlmostEquals(value, expected.other - expected.base, 2 * TOLERANCE, name);
    assertAlmostEquals(pValue, expected.p_value, 1e-12, name);
  }
  const values = CASES.map(({ expected }) => expected.p_value);
  assert(values.some((p) => p < 0.01) && values.some((p) => p > 0.1), `one-sided cases: ${values}`);
});

Deno.test("means and intervals of the draws are sacreBLEU's", () => {
  for (const { name, expected, other } of CASES) {
    const scores = bootstrapScores(other, DRAWS);
    const { mean, ci } = sacrebleuInterval(scores);
    assertAlmostEquals(mean, expected.mean, TOLERANCE, name);
    assertAlmostEquals(ci, expected.ci, TOLERANCE, name);
    // Ours interpolates between the same order statistics' neighbours.
    const { low, high } = percentileInterval(scores);
    assertAlmostEquals((high - low) / 2, expected.ci, 0.05 * expected.ci, name);
  }
});
