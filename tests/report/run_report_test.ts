import {
  assert,
  assertEquals,
  AssertionError,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { JSDOM } from "jsdom";
import { resultsTable } from "@lib/experiment/results_table.ts";
import { Run, RunError } from "@lib/experiment/run.ts";
import { markup } from "@lib/report/markup.ts";
import { writeReport } from "@lib/report/run_report.ts";
import { assertValidPage } from "./html_rules.ts";
import { makeRun, referenceOf, withOutputs } from "./run_fixture.ts";

Deno.test("the report of a whole run is valid, self-contained and holds every section", () =>
  withOutputs(async (outputs) => {
    const harmful = "রোজ রাতে ৫০ মিগ্রা ট্যাবলেট খান।";
    const tuned = (row: number) => row === 9 ? harmful : referenceOf(row);
    const run = await makeRun(outputs, "r", { set: ["lora.r=8"], tuned });
    await Deno.mkdir(run.plots);
    const plot = "<svg xmlns='http://www.w3.org/2000/svg'/>";
    await Deno.writeTextFile(`${run.plots}/03_loss.svg`, plot);
    const batch = { level: 3, action: "fixed_reply", gates: { form: true, safety: true } };
    const other = { level: 0, action: "shown", gates: { form: true, safety: false } };
    const results = { results: [batch, batch, other] };
    await Deno.writeTextFile(`${run.folder}/batch_results.json`, JSON.stringify(results));
    const page = await Deno.readTextFile(await writeReport(run));
    assertValidPage(page);
    const { document } = new JSDOM(page).window;
    const text = (selector: string) => document.querySelector(selector)?.textContent ?? "";
    const heads = [...document.querySelectorAll("h2")].map((head) => head.textContent);
    assertEquals(heads, [
      ...["Results", "Answers", "Gates", "Guardrails", "Training", "Data", "Configuration"],
      ...["Environment", "Files", "Plots of the notebooks"],
    ]);
    assertEquals(document.querySelectorAll("#answers article").length, 10);
    assertStringIncludes(text("#answers"), referenceOf(3));
    assertStringIncludes(page, "নদী বয়ে যায় &lt;b&gt;&amp;&lt;/b&gt;");
    assertStringIncludes(text("#results"), "403 [403, 403]"); // exp 6: base perplexity
    assertStringIncludes(text("#guardrails"), "fixed_reply 2");
    assertStringIncludes(text("#guardrails"), "on the 10 test questions");
    assertStringIncludes(text("#guardrails"), "dose");
    assertStringIncludes(text("#data"), "the answer is empty");
    assertStringIncludes(text("#training"), "2.0000 (perplexity 7.39) at step 4");
    assertStringIncludes(text("#configuration"), "lora.r");
    assertStringIncludes(text("#environment"), "0123456789abcdef");
    const bytes = await Deno.readFile(run.evaluationResults);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    assertStringIncludes(text("#files"), digest);
    assert(document.querySelectorAll("#training polyline").length >= 2, "curves");
  }));

Deno.test("a run with its first step only is reported, an empty one refused", () =>
  withOutputs(async (outputs) => {
    const empty = await Run.open("empty", outputs);
    await assertRejects(() => writeReport(empty), RunError, "Run 01_clean");
    const whole = await makeRun(outputs, "whole");
    await Deno.copyFile(whole.cleanReport, empty.cleanReport);
    const page = await Deno.readTextFile(await writeReport(empty));
    assertValidPage(page);
    assertStringIncludes(page, '<h2 id="data-title">Data</h2>');
    assert(!page.includes('<h2 id="results-title">'));
    assertStringIncludes(await resultsTable(empty), "no evaluation results yet");
    assertStringIncludes(await resultsTable(whole), "Perplexity");
  }));

Deno.test("what people and models write cannot break out of the page", () => {
  const hostile = `</style><script>alert("x")</script>'"&\u0000\u0008\ufffe\ud800 ক`;
  const page =
    `<!DOCTYPE html><html lang="en"><head><title>t</title></head><body><h1>${markup`<b title="${hostile}">${[
      hostile,
      markup`<i>${hostile}</i>`,
    ]}</b>`}</h1></body></html>`;
  assertValidPage(page);
  assertThrows(() => assertValidPage(page.replaceAll("&lt;", "<")), AssertionError);
  const { document } = new JSDOM(page).window;
  assertEquals(document.querySelectorAll("script, style").length, 0);
  const seen = document.querySelector("i")?.textContent ?? "";
  assertStringIncludes(seen, `</style><script>alert("x")</script>'"&`);
  assertEquals(document.querySelector("b")?.getAttribute("title"), seen);
});
