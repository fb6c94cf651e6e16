import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { LLAMA_8B, LLAMA_SMALL } from "@lib/bench/shapes.ts";
import { LORA_MODULES } from "@lib/config.ts";
import { attendedPairs } from "@lib/engine/flops.ts";
import { type Machine, MACHINES, measuredMachine } from "@lib/engine/machine.ts";
import { planTraining } from "@lib/engine/model.ts";
import { forecastRun, SEED_RUN } from "@lib/training/forecast.ts";
import { trainingMemory } from "@lib/training/memory_model.ts";
import { microBatchTime, optimizerTime } from "@lib/training/roofline.ts";

const lora = { r: 16, alpha: 32, targetModules: LORA_MODULES, dropout: 0.05 };
const H200 = MACHINES.H200;

/** The seed's epoch, in seconds. */
function epoch(machine: Machine, memoryBytes?: number): number {
  const options = memoryBytes === undefined ? {} : { memoryBytes };
  const forecast = forecastRun(LLAMA_8B, lora, SEED_RUN, machine, options);
  return forecast?.seconds ?? NaN;
}

Deno.test("memory is the planner's to a hundredth", () => {
  for (const shape of [LLAMA_8B, { ...LLAMA_8B, numLayers: 9 }]) {
    for (const recompute of ["full", "none"] as const) {
      for (const tokens of [700, 3000]) {
        const train = { maxTokens: tokens, maxSequences: 8, maxTargets: tokens, recompute };
        const plan = planTraining(shape, { backend: "cpu" }, lora, train).report;
        const kept = plan.kept_layers;
        const bytes = trainingMemory(shape, lora, {
          tokens,
          targets: tokens,
          kept: { products: kept, whole: kept },
          resident: false,
          embeddingsOnHost: false,
          memoryBytes: plan.device_total,
          activationBytes: 4, // the CPU build's
        });
        assertAlmostEquals(bytes / plan.total, 1, 0.01, `${tokens} tokens, ${recompute}`);
      }
    }
  }
});

Deno.test("an RTX 3060 takes the seed's epoch in at most an hour and a half, within its memory", () => {
  const forecast = forecastRun(LLAMA_8B, lora, SEED_RUN, MACHINES["RTX 3060 12 GB"]);
  if (forecast === null) throw new Error("does not fit");
  assert(!forecast.embeddingsOnHost);
  assert(forecast.seconds <= 1.5 * 3600, `${forecast.seconds} s`);
  assert(forecast.seconds > 12750 * 170 * 30e9 / 25.5e12, "not faster than its data sheet");
  assert(forecast.memoryBytes <= 11e9 && forecast.microBatchTokens >= SEED_RUN.longest);
});

Deno.test("a faster, wider or roomier machine is never slower", () => {
  const names = ["productFlops", "copyBytes", "memoryBytes"] as const;
  for (const start of [MACHINES["RTX 3060 12 GB"], MACHINES["RTX 4090"], H200]) {
    for (const name of names) {
      let before = Infinity;
      for (const factor of [1, 1.3, 2, 4]) {
        const seconds = epoch({ ...start, [name]: start[name] * factor });
        assert(seconds <= before * 1.0001, `${start.name}: ${name} × ${factor}`);
        before = seconds;
      }
    }
  }
  assert(epoch(H200) < epoch(H200, 20e9) && epoch(H200, 20e9) < epoch(H200, 10e9));
});

Deno.test("more tokens, more rank, more recompute, dequantising: all cost time", () => {
  const size = (samples: number) => ({
    tokens: 336 + samples * 170,
    targets: samples * 102,
    pairs: attendedPairs(336, Array.from({ length: samples }, () => 170)),
  });
  const whole = { products: 32, whole: 32 };
  const layout = { kept: whole, resident: true };
  const time = (samples = 32, changed = {}, r = 16) =>
    microBatchTime(LLAMA_8B, { ...lora, r }, size(samples), { ...layout, ...changed }, H200).total;
  assert(time(16) < time(32));
  assert(time(32, {}, 4) < time(32, {}, 64));
  assert(time() < time(32, { resident: false }));
  const kept = [whole, { products: 32, whole: 1 }, { products: 16, whole: 1 }, {
    products: 1,
    whole: 1,
  }].map((one) => time(32, { kept: one }));
  assertEquals(kept, kept.toSorted((a, b) => a - b));
  assert(optimizerTime(LLAMA_8B, lora, layout, H200) < 0.01);
});

Deno.test("what does not fit is not forecast; a smaller card puts the embeddings aside", () => {
  const small = forecastRun(LLAMA_8B, lora, SEED_RUN, MACHINES["RTX 4060"]);
  assert(small?.embeddingsOnHost === true && small.memoryBytes <= 7.2e9);
  assertEquals(forecastRun(LLAMA_8B, lora, SEED_RUN, H200, { memoryBytes: 4e9 }), null);
  const one = { ...LLAMA_SMALL, numLayers: 1 };
  assert(forecastRun(one, lora, SEED_RUN, MACHINES["RTX 4060"]) !== null);
});

Deno.test("the machine here is what was measured of it", () => {
  const rates = { productFlops: 1e12, productSize: 1024, copyBytes: 1e11, uploadBytes: 1e10 };
  assertEquals(measuredMachine("here", 8e9, rates), {
    name: "here",
    memoryBytes: 8e9,
    productFlops: 1e12,
    copyBytes: 1e11,
    busBytes: 1e10,
  });
});
