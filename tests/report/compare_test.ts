import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { compareRuns } from "@lib/experiment/compare_runs.ts";
import { Run, RunError } from "@lib/experiment/run.ts";
import { listRuns, openExistingRun } from "@lib/experiment/run_list.ts";
import { loadRunRecord } from "@lib/experiment/run_record.ts";
import { comparisonPage } from "@lib/report/comparison_page.ts";
import { comparisonLines } from "@lib/report/comparison_text.ts";
import { assertValidPage } from "./html_rules.ts";
import { makeRun, referenceOf, withOutputs } from "./run_fixture.ts";

const DRAWS = { draws: 100 };
const poor = (row: number) => referenceOf(row).split(" ").slice(0, 5).join(" ");

Deno.test("metrics are compared on the rows that both answered, on the same draws", () =>
  withOutputs(async (outputs) => {
    const rows = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    const a = await makeRun(outputs, "a", { tuned: poor, nll: 3 });
    const b = await makeRun(outputs, "b", { rows, nll: 2, set: ["lora.r=4", "training.epochs=3"] });
    const records = [await loadRunRecord(a), await loadRunRecord(b)];
    const comparison = compareRuns(records, DRAWS);
    const [pair] = comparison.pairs;
    assertEquals([pair?.baseline, pair?.system, pair?.rows], ["a", "b", 8]);
    assertEquals(pair?.answered, [10, 10]);
    const { metrics } = pair!;
    assertAlmostEquals(metrics.rouge_l.system ?? 0, 1);
    assert((metrics.rouge_l.low ?? 0) > 0);
    assertAlmostEquals(metrics.perplexity.difference ?? 0, Math.exp(2) - Math.exp(3), 1e-9);
    assertAlmostEquals(
      (metrics.bits_per_byte.system ?? 0) / (metrics.bits_per_byte.baseline ?? 1),
      2 / 3,
    );
    assertEquals(comparison.config_differences, [
      { key: "lora.r", values: ["64", "4"] },
      { key: "training.epochs", values: ["2", "3"] },
    ]);
    assertEquals(comparison.curves.map((one) => one.best_validation_loss), [2, 2]);
    const text = comparisonLines(comparison).join("\n");
    assertStringIncludes(text, "8 rows that both answered (of 10 and 10)");
    assertValidPage(comparisonPage(comparison));
    const base = compareRuns(records, { ...DRAWS, system: "base" });
    assertEquals(base.pairs[0]?.metrics.chrf_pp.difference, 0);
    assertEquals(base.pairs[0]?.metrics.chrf_pp.p_value, 1);
  }));

Deno.test("perplexities of different base models are not compared, missing answers are said", () =>
  withOutputs(async (outputs) => {
    const a = await makeRun(outputs, "a");
    const other = await makeRun(outputs, "other", { set: ["model.base=data/other"] });
    const bare = await makeRun(outputs, "bare");
    await Deno.remove(bare.testResults);
    const records = await Promise.all([a, other, bare].map(loadRunRecord));
    const { pairs, notes } = compareRuns(records, DRAWS);
    assertEquals(pairs.map(({ system }) => system), ["other"]);
    assertEquals(pairs[0]?.metrics.perplexity.difference, null);
    assertEquals(pairs[0]?.metrics.bits_per_byte.difference, 0);
    assertStringIncludes(pairs[0]?.notes.join() ?? "", "Different base models");
    assertStringIncludes(notes.join(), "a and bare share no answered row");
  }));

Deno.test("a run that is not there is refused with the nearest name and none is made", () =>
  withOutputs(async (outputs) => {
    const run = await makeRun(outputs, "rank16");
    await Run.open("unused", outputs);
    assertEquals(await listRuns(outputs), ["rank16"]);
    await assertRejects(() => openExistingRun("rank61", outputs), RunError, "mean 'rank16'");
    assertEquals(await listRuns(`${outputs}/none`), []);
    const record = await loadRunRecord(run);
    assertThrows(() => compareRuns([record]), RunError, "found rank16");
    assertThrows(() => compareRuns([record, record]), RunError, "two different runs");
  }));
