import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  formatDuration,
  printLine,
  Progress,
  type ProgressOptions,
  type ProgressTarget,
} from "@lib/notebook/progress.ts";

/** A progress on a clock that the test moves. */
function fakeProgress(
  target: ProgressTarget,
  total?: number,
  more: Pick<ProgressOptions, "columns" | "initial"> = {},
) {
  let time = 0;
  const written: string[] = [];
  const progress = new Progress("Rows", {
    target,
    unit: "rows",
    columns: 120,
    ...more,
    ...(total === undefined ? {} : { total }),
    write: (text) => written.push(text),
    now: () => time,
  });
  return { progress, written, pass: (ms: number) => void (time += ms) };
}

Deno.test("durations read as people say them", () => {
  assertEquals(
    [0.44, 9.96, 61, 3725, 172_799, 187_200, NaN].map(formatDuration),
    ["0.4 s", "10.0 s", "1 min 01 s", "1 h 02 min", "47 h 59 min", "2 d 04 h", "?"],
  );
});

Deno.test("a terminal line shows share, rate and time left, and is drawn 4 times a second", async () => {
  const { progress, written, pass } = fakeProgress("terminal", 100);
  for (let done = 1; done <= 50; done++) {
    pass(100);
    progress.update(done, "loss 1.25");
  }
  assertEquals(written.length, 17, "every third of 50 updates, 100 ms apart");
  const last = written.at(-1) ?? "";
  assertStringIncludes(last, "\r[############------------] Rows  49 %  49/100 rows · 10.0 rows/s");
  pass(100);
  await progress.finish();
  await progress.finish("again");
  assertEquals(written.length, 18);
  assertEquals(written.at(-1)?.endsWith("\n"), true);
});

Deno.test("in a narrow terminal the bar gives way, so that the time left is seen", () => {
  const lineAt = (columns: number) => {
    const { progress, written, pass } = fakeProgress("terminal", 1000, { columns });
    pass(1000);
    progress.update(100);
    return written.at(-1) ?? "";
  };
  assertEquals(
    lineAt(72),
    `\r[##${"-".repeat(14)}] Rows  10 %  100/1,000 rows · 100 rows/s · 9.0 s left`,
  );
  assertStringIncludes(lineAt(60), "\r[----] Rows  10 %");
  assertStringIncludes(lineAt(60), "9.0 s left");
  assertEquals(lineAt(40).length, 40, "never wider than the terminal");
});

Deno.test("what was done before the clock began tells nothing about the rate", () => {
  const { progress, pass } = fakeProgress("log", 1000, { initial: 500 });
  assertEquals(progress.text, "Rows  50 %  500/1,000 rows");
  pass(1000);
  progress.update(600);
  assertEquals(progress.text, "Rows  60 %  600/1,000 rows · 100 rows/s · 4.0 s left");
});

Deno.test("a shorter line erases the longer one before it", () => {
  const { progress, written, pass } = fakeProgress("terminal");
  pass(250);
  progress.update(1, "a long note");
  pass(250);
  progress.update(2, "");
  const [long = "", short = ""] = written;
  assertEquals(short.length, long.length);
});

Deno.test("a log gets a plain line every ten seconds and one at the end", async () => {
  const { progress, written, pass } = fakeProgress("log", 1000);
  for (let second = 1; second <= 25; second++) {
    pass(1000);
    progress.add(10);
  }
  await progress.finish("done");
  assertEquals(written, [
    "Rows  10 %  100/1,000 rows · 10.0 rows/s · 1 min 30 s left\n",
    "Rows  20 %  200/1,000 rows · 10.0 rows/s · 1 min 20 s left\n",
    "Rows  25 %  250/1,000 rows · 10.0 rows/s · took 25 s · done\n",
  ]);
});

Deno.test("quiet progress writes nothing", async () => {
  const written: string[] = [];
  const progress = new Progress("Rows", {
    quiet: true,
    target: "log",
    write: (text) => written.push(text),
  });
  progress.update(1);
  await progress.finish();
  assertEquals(written, []);
});

Deno.test("a line is written above the progress line, which stays", async () => {
  const { progress, written, pass } = fakeProgress("terminal", 4);
  pass(250);
  progress.update(1);
  const bar = (written.at(-1) ?? "").slice(1);
  printLine("validated");
  assertEquals(written.at(-1), `\r${" ".repeat(bar.length)}\rvalidated\n${bar}`);
  await progress.finish();
  const count = written.length;
  printLine("behind the end of it, on standard error");
  assertEquals(written.length, count);
});

Deno.test("a result is printed where it belongs, above the progress line", async () => {
  const { progress, written, pass } = fakeProgress("terminal", 4);
  pass(250);
  progress.update(1);
  const bar = (written.at(-1) ?? "").slice(1);
  printLine("0.25", (line) => written.push(`stdout ${line}`));
  assertEquals(written.slice(-3), [`\r${" ".repeat(bar.length)}\r`, "stdout 0.25", bar]);
  await progress.finish();
  printLine("0.5", (line) => written.push(`stdout ${line}`));
  assertEquals(written.at(-1), "stdout 0.5");
});
