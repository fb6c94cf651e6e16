import { assert, assertEquals } from "@std/assert";
import { LLAMA_8B } from "@lib/bench/shapes.ts";
import { resolveConfig } from "@lib/config.ts";
import { adapterParameters } from "@lib/engine/architecture.ts";
import type { MemoryReport } from "@lib/engine/memory.ts";
import type { HostTensors } from "@lib/engine/model.ts";
import { expectedRates, stepSeconds, type StepShape } from "@lib/training/cost.ts";
import { planMicroBatches } from "@lib/training/packing.ts";
import { answeringOptions, planRun } from "@lib/training/plan.ts";
import { SMALL, smallSamples } from "../fixtures/small_model.ts";

const ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
const H200 = { productFlops: 660e12, copyBytes: 3.8e12, busBytes: 45e9 };
const STEP: StepShape = { microBatches: 1, tokens: 5776, targets: 3264 };

function seconds(
  changes: Partial<MemoryReport> = {},
  host: readonly HostTensors[] = [],
  step: StepShape = STEP,
): number {
  const report = { kept_layers: 32, whole_layers: 32, resident: 1, ...changes } as MemoryReport;
  const trainable = adapterParameters(LLAMA_8B, { r: 16, targetModules: ALL });
  return stepSeconds(LLAMA_8B, step, { report, host, trainable }, H200);
}

Deno.test("an adapter has the parameters PEFT counts", () => {
  assertEquals(adapterParameters(LLAMA_8B, { r: 16, targetModules: ALL }), 41_943_040);
  const attention = { r: 16, targetModules: ALL.slice(0, 4) };
  assertEquals(adapterParameters(LLAMA_8B, attention), 13_631_488);
});

Deno.test("every saving of memory costs time, in the order it is made", () => {
  const free = seconds();
  const dequantized = seconds({ resident: 0 });
  const products = seconds({ resident: 0, whole_layers: 1 });
  const recomputed = seconds({ resident: 0, whole_layers: 1, kept_layers: 1 });
  assert(free < dequantized && dequantized < products && products < recomputed);
  // A step recomputed whole takes about 1.35 times one kept whole.
  assert(recomputed / free > 1.25 && recomputed / free < 1.5, `${recomputed / free}`);
  const hosts: HostTensors[][] = [["embeddings"], ["optimizer"], ["head"]];
  const [embeddings = 0, optimizer = 0, head = 0] = hosts.map((host) => seconds({}, host) - free);
  assert(0 < embeddings && embeddings < optimizer && optimizer < head);
  // 1.05 GB over the bus takes 23 ms, of which the head's own products hide some.
  assert(head < 2 * 128256 * 4096 / H200.busBytes, `${head}`);
});

Deno.test("smaller micro-batches repeat the prefix and the dequantisation", () => {
  const halves = { ...STEP, microBatches: 2, tokens: STEP.tokens + 336 };
  assert(seconds({ resident: 0 }, [], halves) > seconds({ resident: 0 }));
});

Deno.test("rates follow the generation and the size of the device", () => {
  const of = (compute_capability: string, multiprocessors: number) =>
    expectedRates({
      backend: "cuda",
      version: "",
      device: "",
      compute_capability,
      multiprocessors,
    });
  const [rtx3060, rtx4090, h200] = [of("8.6", 28), of("8.9", 128), of("9.0", 132)];
  assert(rtx3060.productFlops < rtx4090.productFlops && rtx4090.productFlops < h200.productFlops);
  assert(rtx3060.copyBytes < h200.copyBytes && rtx3060.busBytes < h200.busBytes);
  assert(of("7.5", 40).productFlops > 0, "a device nobody knows has rates too");
});

const data = (count: number) => {
  const samples = smallSamples(count);
  return {
    train: { samples, tooLong: [] },
    validation: { samples: [], tooLong: [] },
    prefixLength: 0,
  };
};

Deno.test("less memory never makes a faster plan, and every plan holds the longest sample", () => {
  const set = ["engine.backend=cpu", "training.batch_size=16"];
  const roomy = planRun(SMALL, resolveConfig({ set }), data(64));
  let last = roomy.stepSeconds;
  for (const share of [0.9, 0.7, 0.55]) {
    const memory = `engine.memory=${Math.ceil(roomy.memory.total * share)}B`;
    const plan = planRun(SMALL, resolveConfig({ set: [...set, memory] }), data(64));
    assert(plan.memory.total <= roomy.memory.total * share, "within the budget");
    assert(plan.stepSeconds >= last, `${share}: ${plan.stepSeconds} after ${last}`);
    last = plan.stepSeconds;
    assertEquals(planMicroBatches(data(64).train.samples, 0, plan.trainer).flat().length, 64);
  }
  assertEquals(roomy.model.hostMemory, [], "the CPU build's device is the host");
  assertEquals(answeringOptions(SMALL, resolveConfig({ set })).hostMemory, []);
});
