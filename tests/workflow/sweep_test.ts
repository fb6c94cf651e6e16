import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { ConfigError, resolveConfig } from "@lib/config.ts";
import { listRuns } from "@lib/experiment/run_list.ts";
import { Run, RunError } from "@lib/experiment/run.ts";
import { changesData, parseVariation, sweepPoints } from "@lib/experiment/sweep.ts";
import { cleanStep, readCorpus } from "@lib/workflow/clean.ts";
import { splitStep } from "@lib/workflow/split.ts";
import { runSweep } from "@lib/workflow/sweep.ts";

const config = resolveConfig({
  profile: "tiny",
  set: ["data.max_rows=120", "training.max_steps=1", "training.eval_samples=2", "lora.r=4"],
});
const vary = (...texts: string[]) => sweepPoints("base", config, texts.map(parseVariation));

Deno.test("variations give every combination, named by its settings", () => {
  const points = vary("lora_r=4,16", "training.learning_rate=1e-3,0.01");
  assertEquals(points.map(({ name }) => name), [
    "base__lora.r-4__training.learning_rate-1e-3",
    "base__lora.r-4__training.learning_rate-0.01",
    "base__lora.r-16__training.learning_rate-1e-3",
    "base__lora.r-16__training.learning_rate-0.01",
  ]);
  assertEquals(points.map(({ config }) => [config.lora.r, config.training.learning_rate]), [
    [4, 1e-3],
    [4, 0.01],
    [16, 1e-3],
    [16, 0.01],
  ]);
  assertEquals(points[0]?.config.data.max_rows, 120);
  const modules = vary('lora.target_modules=["q_proj"],["q_proj","v_proj"]');
  assertEquals(modules.map(({ config }) => config.lora.target_modules.length), [1, 2]);
  assertEquals([changesData(points[0]!), changesData(vary("data.max_rows=50,60")[0]!)], [
    false,
    true,
  ]);
});

Deno.test("variations that cannot be run are refused with what was found", () => {
  assertThrows(() => parseVariation("lora.rr=4"), ConfigError, "did you mean 'lora.r'");
  assertThrows(() => parseVariation("lora.r"), ConfigError, "found 'lora.r'");
  assertThrows(() => parseVariation("lora.r=4,4"), ConfigError, "different values");
  assertThrows(() => parseVariation("lora.r="), ConfigError, "different values");
  assertThrows(() => vary("lora.r=4", "lora_r=8"), ConfigError, "lora.r, lora.r");
  assertThrows(() => vary("lora.r=0"), ConfigError, "lora.r");
  const many = Array.from({ length: 9 }, (_, i) => i + 1).join(",");
  assertThrows(() => vary(`lora.r=${many}`, `seed=${many}`), ConfigError, "found 81");
  assertThrows(() => sweepPoints("base", config, []), ConfigError, "--vary");
});

Deno.test("a sweep trains what is not done, on the base run's data, and keeps what is", async () => {
  const outputs = await Deno.makeTempDir();
  try {
    const base = await Run.open("base", outputs);
    const points = vary("lora.r=2,4");
    await assertRejects(() => runSweep(base, points, { evaluate: false }), RunError, "02_split");
    await cleanStep(base, config, await readCorpus(config));
    await splitStep(base, config);
    const trained: string[] = [];
    const options = {
      evaluate: false,
      onRun: ({ name }: { readonly name: string }, _: number, done: boolean) => {
        if (!done) trained.push(name);
      },
    };
    const results = await runSweep(base, points, options);
    assertEquals(trained, ["base__lora.r-2", "base__lora.r-4"]);
    assertEquals(results.map(({ steps, kept }) => [steps, kept]), [[1, false], [1, false]]);
    const [small = 0, large = 0] = results.map((one) => one.trainable_parameters ?? 0);
    assertEquals(large, 2 * small);
    assert(results.every(({ validation_loss }) => (validation_loss ?? 0) > 0));
    assertEquals(await listRuns(outputs), ["base", ...trained]);

    const again = await runSweep(base, points, options);
    assertEquals(trained.length, 2);
    assertEquals(again, results.map((one) => ({ ...one, kept: true })));

    // Another data set under the base run: what stood on the old one is trained anew.
    const validation = await Deno.readTextFile(base.split("val"));
    await Deno.writeTextFile(base.split("val"), validation.split("\n").slice(1).join("\n"));
    await runSweep(base, points.slice(0, 1), options);
    assertEquals(trained.at(-1), "base__lora.r-2");
    assertEquals(trained.length, 3);
    const copied = await Deno.readTextFile(`${outputs}/base__lora.r-2/val.jsonl`);
    assertStringIncludes(validation, copied);
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
});
