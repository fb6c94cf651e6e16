/** The history of a training run, joined across the logs of its resumptions. */
import { assertEquals, assertRejects } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import { loadTrainingHistory } from "@lib/experiment/history.ts";
import { ExperimentLog } from "@lib/experiment/log.ts";
import { Run } from "@lib/experiment/run.ts";

const ENVIRONMENT = {
  ...{ deno: "2", v8: "1", typescript: "5", os: "linux", arch: "x86_64", cpus: 2 },
  ...{ memory_bytes: 1, backend: "cpu", engine_version: "1", device: "cpu", isa: null },
  ...{ threads: null, commit: null },
};

/** A log that goes from one step to another, with a validation at its end. */
async function writeLog(run: Run, start: string, from: number, to: number): Promise<void> {
  using log = await ExperimentLog.open(run.newExperimentLog(new Date(start)));
  log.append({
    event: "run_start",
    run: run.name,
    config: resolveConfig({ profile: "tiny" }),
    environment: ENVIRONMENT,
    seed: 1,
    total_steps: 9,
    resumed_from: from,
    ...{ train_samples: 1, validation_samples: 1, too_long: 0, prefix_tokens: 0 },
    trainable_parameters: 1,
  });
  for (let step = from + 1; step <= to; step++) {
    log.append({
      event: "train",
      step,
      loss: 10 * from + step,
      ...{ epoch: 1, learning_rate: 0, grad_norm: 1, clipped: false, target_tokens: 1, tokens: 1 },
      ...{ tokens_per_second: 1, samples_per_second: 1, memory_bytes: 1, seconds: 1 },
    });
  }
  log.append({
    ...{ event: "validation", step: to, loss: to, perplexity: 2, target_tokens: 1, seconds: 1 },
  });
}

async function withRun(test: (run: Run) => Promise<void>): Promise<void> {
  const outputs = await Deno.makeTempDir();
  try {
    await test(await Run.open("history", outputs));
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
}

Deno.test("resumed parts are joined; what was done again counts once, as done last", () =>
  withRun(async (run) => {
    await writeLog(run, "2030-01-01T00:00:00Z", 0, 2); // an older run: not part of it
    await writeLog(run, "2030-01-02T00:00:00Z", 0, 4);
    await writeLog(run, "2030-01-03T00:00:00Z", 3, 5); // goes on from a checkpoint at step 3
    const { steps, validations, events, log } = await loadTrainingHistory(run);
    assertEquals(steps.map(({ step }) => step), [1, 2, 3, 4, 5]);
    assertEquals(steps.map(({ loss }) => loss), [1, 2, 3, 34, 35]);
    assertEquals(validations.map(({ step }) => step), [5]);
    assertEquals(events.length, 4);
    assertEquals(log, (await run.experimentLogs()).at(-1));
  }));

Deno.test("without a log the step to run first is named", () =>
  withRun(async (run) => {
    await assertRejects(() => loadTrainingHistory(run), Error, "03_train");
  }));
