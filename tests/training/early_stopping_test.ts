import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import type { Model } from "@lib/engine/model.ts";
import { meanLikelihood, measureLikelihood } from "@lib/evaluation/likelihood.ts";
import type { LogEvent } from "@lib/experiment/log.ts";
import { Run } from "@lib/experiment/run.ts";
import { drawnRecords } from "@lib/training/data.ts";
import { planRun } from "@lib/training/plan.ts";
import { train, type TrainingRun } from "@lib/training/train.ts";
import { loadAdapter } from "@lib/weights/adapter.ts";
import { SMALL, smallModel, smallSamples } from "../fixtures/small_model.ts";

/** A learning rate that helps at first and then harms. */
const SETTINGS = [
  "training.batch_size=8",
  "training.epochs=8",
  "training.eval_every=1",
  "training.save_every=3",
  "training.learning_rate=0.1",
  "training.schedule=constant",
  "training.max_grad_norm=0",
  "lora.r=16",
];

async function withRun(
  patience: number | null,
  body: (open: () => Promise<TrainingRun>, run: Run) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const models: Model[] = [];
  const run = await Run.open("test", folder);
  const config = resolveConfig({ set: [...SETTINGS, `training.patience=${patience}`] });
  const data = {
    train: { samples: smallSamples(40), tooLong: [] },
    validation: { samples: smallSamples(8, 1000), tooLong: [] },
    prefixLength: 6,
  };
  const open = async (): Promise<TrainingRun> => {
    const model = await smallModel();
    models.push(model);
    const plan = planRun(SMALL, config, data);
    await model.attachLora(plan.lora);
    return { run, config, model, data, plan };
  };
  try {
    await body(open, run);
  } finally {
    for (const model of models) await model.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const collect = (training: TrainingRun) => Array.fromAsync(train(training));
const validations = (events: readonly LogEvent[]) =>
  events.filter((event) => event.event === "validation");

Deno.test("training ends when validation has not improved, and keeps the best adapter", () =>
  withRun(3, async (open, run) => {
    const training = await open();
    const found = validations(await collect(training));
    const best = found.toSorted((a, b) => a.loss - b.loss)[0]!;
    assert(found.length < 41 && best.step > 0, "it stopped early, after some progress");
    assertEquals(found.at(-1)?.step, best.step + 3);
    const report = JSON.parse(await Deno.readTextFile(run.trainReport));
    assertEquals([report.best_step, report.validation_loss], [best.step, best.loss]);
    const model = await smallModel();
    try {
      await loadAdapter(run.adapter, model);
      const again = await measureLikelihood(model, training.data.validation.samples);
      assertAlmostEquals(meanLikelihood(again).loss, best.loss, 1e-5);
    } finally {
      await model.close();
    }
  }));

Deno.test("an interrupted run waits no longer than an uninterrupted one", async () => {
  let steps: number[] = [];
  await withRun(3, async (open) => {
    steps = validations(await collect(await open())).map(({ step }) => step);
  });
  await withRun(3, async (open) => {
    const stop = new AbortController();
    const at = (steps.at(-1) ?? 0) - 1;
    await assertRejects(
      async () => {
        for await (const event of train(await open(), stop.signal)) {
          if (event.event === "train" && event.step === at) stop.abort(new Error("stopped here"));
        }
      },
      Error,
      "stopped here",
    );
    const rest = validations(await collect(await open()));
    assertEquals(rest.at(-1)?.step, steps.at(-1));
    const over = validations(await collect(await open()));
    assert(over.length <= 1, "a run that has stopped takes no further step");
  });
});

Deno.test("without patience every step is taken", () =>
  withRun(null, async (open) => {
    assertEquals(validations(await collect(await open())).length, 41);
  }));

Deno.test("sizes of a data ablation are nested, in the order of the file", () => {
  const records = Array.from({ length: 50 }, (_, row) => ({
    ...{ row, run: 1, topic: "", title: "", question: `${row}`, answer: "", group: row },
  }));
  const rows = (count: number | null) => drawnRecords(records, count, 42).map(({ row }) => row);
  const [few, more] = [rows(10), rows(25)];
  assertEquals([few.length, more.length, rows(null).length, rows(80).length], [10, 25, 50, 50]);
  assertEquals(few, few.toSorted((a, b) => a - b));
  assert(few.every((row) => more.includes(row)));
  assert(few.some((row) => row > 25), "drawn, not cut");
});
