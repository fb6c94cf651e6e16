/**
 * The kernel conformance test: whether students can trust what they see.
 *
 * Each count is cells that a front end which stops listening at `idle` (JupyterLab, nbclient) shows
 * wrongly. Another version is measured by `KERNEL_DENO=/path/to/deno`, the bare kernel by
 * `KERNEL_HOOK=off`. Four runs each on Linux, 2 busy cores, lowest to highest count:
 *
 * | wrong cells                 | 2.8.1 bare | 2.8.1 + hook | 2.9.6 bare | 2.9.6 + hook |
 * | --------------------------- | ---------- | ------------ | ---------- | ------------ |
 * | 100 one-line                | 0          | 0            | 0–2        | 0            |
 * | 10 bursts of 500 lines      | 0–1        | 0            | 10         | 0            |
 * | 20 print, then throw        | 0–4        | 0            | 20         | 0–1          |
 * | 20 stdout and stderr mixed  | 0–2        | 0            | 6–20       | 0            |
 * | 20 display between lines    | 5–18       | 0            | 0–20       | 0            |
 * | syntax error shown          | yes        | yes          | no         | no           |
 * | 7 odd last values shown     | 7          | 7            | 2          | 2            |
 * | timer that throws, shown    | yes        | yes          | 2 of 4     | yes          |
 * | SIGINT, restart, no hang    | yes        | yes          | yes        | yes          |
 *
 * So the course pins 2.8.1 and always installs the hook.
 *
 * One flaw is left in 2.8.1: on a machine six times overloaded, about 1 of 600 bursts ends with
 * {@linkcode LOST_VALUE}: all its output is there, but V8's garbage collector took the cell's result
 * before the kernel read it. In 280 heavy cells without such load it did not happen.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { KernelClient } from "@lib/notebook/kernel/client.ts";
import { runCell, type SeenCell, startKernel } from "./kernel_fixture.ts";

/** How 2.8.1 reports that it lost a cell's result; the cell itself has run. */
const LOST_VALUE = "invalid type: null, expected struct EvaluateResponse";

/** Counts the cells that are not shown as `expected` says. */
async function countWrong(
  kernel: KernelClient,
  cells: number,
  code: (at: number) => string,
  isRight: (seen: SeenCell, at: number) => boolean,
): Promise<number> {
  let wrong = 0;
  for (let at = 0; at < cells; at++) {
    if (!isRight(await runCell(kernel, code(at)), at)) wrong++;
  }
  return wrong;
}

Deno.test("the kernel shows every cell's output in its place", async (t) => {
  await using kernel = await startKernel();

  await t.step("100 one-line cells", async () => {
    const wrong = await countWrong(
      kernel,
      100,
      (at) => `console.log("লাইন ${at}")`,
      ({ text }, at) => text === `লাইন ${at}\n`,
    );
    assertEquals(wrong, 0, `wrong: ${wrong} of 100 one-line cells`);
  });

  await t.step("bursts of 500 lines", async () => {
    const burst = (at: number) => Array.from({ length: 500 }, (_, line) => `${at}.${line}\n`);
    let lost = 0;
    const wrong = await countWrong(
      kernel,
      10,
      (at) => `for (let line = 0; line < 500; line++) console.log("${at}." + line)`,
      ({ text }, at) => {
        if (text.endsWith(LOST_VALUE)) lost++;
        return text.replace(LOST_VALUE, "") === burst(at).join("");
      },
    );
    assertEquals(wrong, 0, `wrong: ${wrong} of 10 bursts`);
    assert(lost <= 1, `${lost} of 10 bursts lost their value`);
  });

  await t.step("cells that print, then throw", async () => {
    const wrong = await countWrong(
      kernel,
      20,
      (at) => `console.log("before ${at}"); throw new Error("boom ${at}")`,
      ({ text, status }, at) => status === "error" && text === `before ${at}\nboom ${at}`,
    );
    assertEquals(wrong, 0, `wrong: ${wrong} of 20 throwing cells`);
  });

  await t.step("stdout and stderr in the order written", async () => {
    const wrong = await countWrong(
      kernel,
      20,
      (at) => `console.log("a"); console.error("b"); console.log("c"); ${at}`,
      ({ order, text }, at) => order === "oeor" && text === `a\nb\nc\n${at}`,
    );
    assertEquals(wrong, 0, `wrong: ${wrong} of 20 mixed cells`);
  });

  await t.step("displays between lines, updated in place", async () => {
    const wrong = await countWrong(
      kernel,
      20,
      (at) =>
        `await Deno.jupyter.display({ "text/plain": "one" }, { raw: true, display_id: "d${at}" });
         console.log("two");
         await Deno.jupyter.display({ "text/plain": "three" },
           { raw: true, display_id: "d${at}", update: true });`,
      ({ order, text }) => order === "dou" && text === "onetwo\nthree",
    );
    assertEquals(wrong, 0, `wrong: ${wrong} of 20 displaying cells`);
  });
});

Deno.test("the kernel shows errors and odd values", async (t) => {
  await using kernel = await startKernel();

  await t.step("a syntax error is visible", async () => {
    const { status, text } = await runCell(kernel, "let x = ;");
    assertEquals(status, "error");
    assertStringIncludes(text, "Expression expected");
  });

  for (const value of ["NaN", "-0", "Infinity", "10n", "null", "false", '""']) {
    await t.step(`the last value ${value} is visible`, async () => {
      const { order, text } = await runCell(kernel, value);
      assertEquals([order, text], ["r", value]);
    });
  }
});

Deno.test("an interrupt ends the cell and keeps the kernel and its state", async (t) => {
  await using kernel = await startKernel();
  await runCell(kernel, "let steps = 0;");

  await t.step("interruptible work rejects within a second", async () => {
    const cell = runCell(
      kernel,
      `await interruptible(async (signal) => {
         while (!signal.aborted) { steps++; await new Promise((go) => setTimeout(go, 5)); }
       });`,
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    const pressed = performance.now();
    kernel.interrupt();
    const { status, text } = await cell;
    assert(performance.now() - pressed < 1000, "took a second or more");
    assertEquals(status, "error");
    assertStringIncludes(text, "Interrupted by the stop button");
  });

  await t.step("work that ignores its signal is left within a second too", async () => {
    const cell = runCell(kernel, `await interruptible(() => new Promise(() => {}));`);
    await new Promise((resolve) => setTimeout(resolve, 200));
    const pressed = performance.now();
    kernel.interrupt();
    assertEquals((await cell).status, "error");
    assert(performance.now() - pressed < 1000, "took a second or more");
  });

  await t.step("an awaiting cell that cannot be interrupted goes on, and says so", async () => {
    const cell = runCell(kernel, `await new Promise((go) => setTimeout(go, 500)); "done"`);
    await new Promise((resolve) => setTimeout(resolve, 150));
    kernel.interrupt();
    const { status, text } = await cell;
    assertEquals(status, "ok");
    assertStringIncludes(text, "nothing here can be interrupted");
    assertStringIncludes(text, "done");
  });

  await t.step("the state survives", async () => {
    const { text } = await runCell(kernel, "steps > 10");
    assertEquals(text, "true");
  });
});

Deno.test("stray errors are shown and the kernel goes on", async (t) => {
  await using kernel = await startKernel();

  await t.step("a timer that throws while a cell awaits", async () => {
    const { status, text } = await runCell(
      kernel,
      `setTimeout(() => { throw new Error("in a timer", { cause: "the cause" }) }, 20);
       await new Promise((go) => setTimeout(go, 100)); "done"`,
    );
    assertEquals(status, "ok");
    assertStringIncludes(text, "Error: in a timer");
    assertStringIncludes(text, "the cause");
    assertStringIncludes(text, "done");
  });

  await t.step("an unhandled rejection", async () => {
    const { status, text } = await runCell(
      kernel,
      `Promise.reject(new Error("nobody awaited me"));
       await new Promise((go) => setTimeout(go, 50)); "done"`,
    );
    assertEquals(status, "ok");
    assertStringIncludes(text, "nobody awaited me");
    assertStringIncludes(text, "done");
  });

  await t.step("the next cell runs", async () => {
    assertEquals((await runCell(kernel, "1 + 1")).text, "2");
  });
});

Deno.test("a restarted kernel is fresh and works", async () => {
  await using kernel = await startKernel();
  await runCell(kernel, "const kept = 1;");
  const before = kernel.pid;
  await kernel.restart();
  assert(kernel.pid !== before, "the same process answers");
  assertEquals((await runCell(kernel, "typeof kept")).text, '"undefined"');
});

Deno.test("a kernel that dies is reported, not waited for", async () => {
  await using kernel = await startKernel();
  const cell = runCell(kernel, "await new Promise((go) => setTimeout(go, 60_000))");
  await new Promise((resolve) => setTimeout(resolve, 100));
  kernel.kill();
  const failure = await cell.then(() => "no error", (error: Error) => error.message);
  assertStringIncludes(failure, "ended with SIGKILL");
});
