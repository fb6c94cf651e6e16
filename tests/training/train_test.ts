import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Config, resolveConfig } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { loadLog, type LogEvent } from "@lib/experiment/log.ts";
import { Run } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { commonPrefixLength } from "@lib/training/packing.ts";
import { MemoryPlanError, planRun } from "@lib/training/plan.ts";
import { epochSteps, train, type TrainingRun } from "@lib/training/train.ts";
import { loadAdapter } from "@lib/weights/adapter.ts";
import { SMALL, smallModel, smallSamples } from "../fixtures/small_model.ts";

const SETTINGS = [
  "training.batch_size=8",
  "training.epochs=2",
  "training.eval_every=4",
  "training.learning_rate=0.01",
  "training.max_grad_norm=0.5",
  "lora.r=16",
  "lora.alpha=32",
  "lora.dropout=0.1",
];

async function withRun(
  settings: readonly string[],
  body: (open: () => Promise<TrainingRun>, run: Run) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const models: Model[] = [];
  const open = async (): Promise<TrainingRun> => {
    const config = resolveConfig({ set: [...SETTINGS, ...settings] });
    const model = await smallModel();
    models.push(model);
    return await trainingRun(await Run.open("test", folder), config, model);
  };
  try {
    await body(open, await Run.open("test", folder));
  } finally {
    for (const model of models) await model.close();
    await Deno.remove(folder, { recursive: true });
  }
}

async function trainingRun(run: Run, config: Config, model: Model): Promise<TrainingRun> {
  const samples = smallSamples(40);
  const data = {
    train: { samples, tooLong: [] },
    validation: { samples: smallSamples(8, 1000), tooLong: [] },
    prefixLength: config.training.share_prefix ? commonPrefixLength(samples) : 0,
  };
  const plan = planRun(SMALL, config, data);
  await model.attachLora(plan.lora);
  return { run, config, model, data, plan };
}

async function collect(training: TrainingRun, signal?: AbortSignal): Promise<LogEvent[]> {
  const events: LogEvent[] = [];
  for await (const event of train(training, signal)) events.push(event);
  return events;
}

const losses = (events: readonly LogEvent[]) =>
  events.flatMap((e) => e.event === "train" ? [e.loss] : []);

const adapterBytes = (run: Run) => Deno.readFile(`${run.adapter}/adapter_model.safetensors`);

Deno.test("training lowers the loss, logs every step and leaves an adapter", () =>
  withRun(["training.epochs=4"], async (open, run) => {
    const training = await open();
    const events = await collect(training);
    const steps = events.filter((e) => e.event === "train");
    assertEquals(steps.map((e) => e.step), Array.from({ length: 20 }, (_, i) => i + 1));
    const [first, last] = [losses(events)[0] ?? 0, losses(events).at(-1) ?? 0];
    assert(last < 0.85 * first, `loss ${first} → ${last}`);
    assertEquals(events[0]?.event, "run_start");
    assertEquals(events.at(-1)?.event, "run_end");
    assertEquals(events.filter((e) => e.event === "validation").map((e) => e.step), [
      0,
      4,
      8,
      12,
      16,
      20,
    ]);
    const [log] = await run.experimentLogs();
    assertEquals((await loadLog(log ?? "")).events, events);
    await loadAdapter(run.adapter, training.model);
  }));

Deno.test("an interrupted run goes on bit for bit", async () => {
  let uninterrupted: number[] = [];
  let bytes = new Uint8Array();
  await withRun([], async (open, run) => {
    uninterrupted = losses(await collect(await open()));
    bytes = await adapterBytes(run);
  });
  await withRun([], async (open, run) => {
    const stop = new AbortController();
    const seen: number[] = [];
    await assertRejects(
      async () => {
        for await (const event of train(await open(), stop.signal)) {
          if (event.event !== "train") continue;
          seen.push(event.loss);
          if (event.step === 3) stop.abort(new Error("stopped by the test"));
        }
      },
      Error,
      "stopped by the test",
    );
    const events = await collect(await open());
    assertEquals(events[0]?.event === "run_start" && events[0].resumed_from, 3);
    assertEquals([...seen, ...losses(events)], uninterrupted);
    assertEquals(await adapterBytes(run), bytes);
  });
});

Deno.test("a run cut into micro-batches, packed or not, takes the same steps", async () => {
  const runs: number[][] = [];
  for (
    const settings of [
      [],
      ["training.micro_batch_tokens=40"],
      ["training.gradient_checkpointing=full"],
      ["training.share_prefix=false", "training.micro_batch_tokens=60"],
    ]
  ) {
    // Dropout is drawn once for a shared prefix, so only without it is sharing the same run.
    await withRun([...settings, "lora.dropout=0"], async (open) => {
      runs.push(losses(await collect(await open())));
    });
  }
  const [whole = [], ...others] = runs;
  for (const other of others) {
    other.forEach((loss, i) => {
      const expected = whole[i] ?? NaN;
      assert(Math.abs(loss - expected) < 2e-4 * expected, `step ${i + 1}: ${loss} ≠ ${expected}`);
    });
  }
});

Deno.test("restart and a changed configuration set the old checkpoints aside", () =>
  withRun(["training.max_steps=2"], async (open, run) => {
    await collect(await open());
    const again = await open();
    const restart = { ...again.config.training, on_rerun: "restart" as const };
    const events = await collect({ ...again, config: { ...again.config, training: restart } });
    assertEquals(losses(events).length, 2);
    const other = await open();
    const longer = await collect({
      ...other,
      config: { ...other.config, seed: 7 },
    });
    assertEquals(longer[0]?.event === "run_start" && longer[0].resumed_from, 0);
    const kept = [...Deno.readDirSync(run.folder)].filter((e) => e.name.includes("_before_"));
    assert(kept.length >= 1);
  }));

Deno.test("a finished run is not trained again", () =>
  withRun(["training.max_steps=2"], async (open) => {
    await collect(await open());
    assertEquals(losses(await collect(await open())), []);
  }));

Deno.test("leaving the loop early keeps the last step", () =>
  withRun([], async (open, run) => {
    for await (const event of train(await open())) {
      if (event.event === "train" && event.step === 2) break;
    }
    assertEquals(await exists(`${run.checkpoints}/step_0000002/state.json`), true);
    const [log] = await run.experimentLogs();
    const { events } = await loadLog(log ?? "");
    const end = events.at(-1);
    assertEquals(end?.event === "run_end" && end.reason, "interrupted");
  }));

Deno.test("epochs are shuffled by seed and epoch, and hold every sample once", () => {
  const config = resolveConfig({ set: ["training.batch_size=8"] });
  const samples = smallSamples(20);
  const ids = (epoch: number) => epochSteps(samples, config, epoch).flat().map((s) => s.id);
  assertEquals(ids(0), ids(0));
  assertEquals(ids(0).toSorted((a, b) => a - b), samples.map((s) => s.id));
  assert(ids(0).join() !== ids(1).join());
  const plain = resolveConfig({ set: ["training.shuffle=false"] });
  assertEquals(epochSteps(samples, plain, 3).flat(), samples);
});

Deno.test("a run that cannot fit is refused before anything is loaded", async () => {
  const samples = smallSamples(8);
  const data = {
    train: { samples, tooLong: [] },
    validation: { samples: [], tooLong: [] },
    prefixLength: 0,
  };
  const tight = resolveConfig({ set: ["engine.memory=100kB", "engine.backend=cpu"] });
  await assertRejects(
    () => Promise.resolve().then(() => planRun(SMALL, tight, data)),
    MemoryPlanError,
  );
  const narrow = resolveConfig({ set: ["training.micro_batch_tokens=4", "engine.backend=cpu"] });
  await assertRejects(
    () => Promise.resolve().then(() => planRun(SMALL, narrow, data)),
    MemoryPlanError,
    "longest sample",
  );
});
