import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertValidPage } from "./html_rules.ts";
import { makeRun, withOutputs } from "./run_fixture.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Runs a task as a user does. */
async function task(outputs: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", ...args],
    cwd: ROOT,
    env: { QLORA_OUTPUTS: outputs, NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("report, compare and agreement run with the permissions of their tasks", () =>
  withOutputs(async (outputs) => {
    await makeRun(outputs, "a");
    await makeRun(outputs, "b", { set: ["lora.r=4"], nll: 1 });
    const report = await task(outputs, "report", "--run", "a", "--json");
    assertEquals(report.code, 0, report.stderr);
    assertValidPage(await Deno.readTextFile(JSON.parse(report.stdout).file));
    const compared = await task(outputs, "compare", "a", "b");
    assertEquals(compared.code, 0, compared.stderr);
    assertStringIncludes(compared.stdout, "10 rows that both answered");
    assertValidPage(await Deno.readTextFile(`${outputs}/compare_a_b.html`));
    assertEquals((await task(outputs, "compare", "a")).code, 2);
    const missing = await task(outputs, "compare", "a", "c");
    assertEquals(missing.code, 1);
    assertStringIncludes(missing.stderr, "found a, b");
    const agreement = await task(outputs, "agreement", "--json");
    assertEquals(agreement.code, 0, agreement.stderr);
    assertEquals(JSON.parse(agreement.stdout).half, "build");
    const shown = await task(outputs, "agreement", "--half", "held_out", "--show");
    assertEquals(shown.code, 2, "the held-out answers are not shown");
  }));

Deno.test("a sweep that cannot be run is refused before anything is trained", () =>
  withOutputs(async (outputs) => {
    await makeRun(outputs, "a");
    assertEquals((await task(outputs, "sweep", "--run", "a")).code, 2);
    const misspelt = await task(outputs, "sweep", "--run", "a", "--vary", "lora.rank=1,2");
    assertEquals(misspelt.code, 2);
    assertStringIncludes(misspelt.stderr, "found 'lora.rank=1,2'");
    const patience = await task(outputs, "sweep", "--run=a", "--vary=lora.r=1,2", "--patience=0");
    assertEquals(patience.code, 2);
    const unsplit = await task(outputs, "sweep", "--run=a", "--vary=lora.r=1,2", "--train-only");
    assertEquals(unsplit.code, 1);
    assertStringIncludes(unsplit.stderr, "02_split");
  }));
