import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ExperimentLog, loadLog } from "@lib/experiment/log.ts";
import { FileReadError } from "@lib/files.ts";

const step = (n: number) => ({
  event: "train" as const,
  step: n,
  epoch: 0.1,
  loss: 1.25,
  learning_rate: 1e-3,
  grad_norm: 0.5,
  clipped: false,
  target_tokens: 10,
  tokens: 20,
  tokens_per_second: 100,
  samples_per_second: 2,
  memory_bytes: 1000,
  seconds: 1,
});

async function withLog(run: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(`${folder}/log.jsonl`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("events are appended and read back; reopening appends", () =>
  withLog(async (path) => {
    for (const n of [1, 2]) {
      using log = await ExperimentLog.open(path);
      log.append(step(n));
    }
    const { events, torn } = await loadLog(path);
    assertEquals([events.map((e) => e.event === "train" && e.step), torn], [[1, 2], false]);
  }));

Deno.test("an event that is not of its schema is not written", () =>
  withLog(async (path) => {
    using log = await ExperimentLog.open(path);
    assertThrows(() => log.append({ ...step(1), loss: NaN }));
    assertEquals(await Deno.readTextFile(path), "");
  }));

Deno.test("a torn last line is left out, a broken line inside is an error", () =>
  withLog(async (path) => {
    {
      using log = await ExperimentLog.open(path);
      log.append(step(1));
      log.append(step(2));
    }
    const whole = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, whole.slice(0, -30));
    const { events, torn } = await loadLog(path);
    assertEquals([events.length, torn], [1, true]);
    await Deno.writeTextFile(path, `{"event":"tr\n${whole}`);
    await assertRejects(() => loadLog(path), FileReadError, "line 1");
  }));

Deno.test("a full disk is named and loses nothing", async () => {
  // /dev/full answers every write with ENOSPC.
  if (Deno.build.os !== "linux") return;
  using log = await ExperimentLog.open("/dev/full");
  assertThrows(() => log.append(step(1)), Error, "disk is full");
});
