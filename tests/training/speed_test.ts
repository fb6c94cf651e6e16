import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import {
  type Architecture,
  countParameters,
  trainingFlopsPerToken,
} from "@lib/engine/architecture.ts";
import { measureTrainingSpeed, trainingWork } from "@lib/training/speed.ts";

const architecture: Architecture = {
  modelType: "llama",
  hiddenSize: 64,
  intermediateSize: 160,
  numLayers: 3,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 16,
  vocabSize: 256,
  maxPosition: 512,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  ropeScaling: null,
  tieWordEmbeddings: true,
  qkvBias: false,
  qkNorm: false,
};

Deno.test("work where every token is a target is the engine's count a token", () => {
  for (const recomputed of [0, 1]) {
    assertAlmostEquals(
      trainingWork(architecture, { tokens: 10, targets: 10, recomputed }),
      10 * trainingFlopsPerToken(architecture, recomputed === 1),
    );
  }
  const layers = countParameters(architecture) - 256 * 64;
  assertEquals(trainingWork(architecture, { tokens: 1, targets: 0, recomputed: 0.5 }), 5 * layers);
});

Deno.test("the speed is measured on the model's own widths", async () => {
  const speed = await measureTrainingSpeed(architecture, resolveConfig(), 64);
  assertEquals([speed.layers, speed.tokens], [3, 64]);
  const work = trainingWork(architecture, { tokens: 64, targets: 4 * 7, recomputed: 0 });
  assertAlmostEquals(speed.flops * speed.seconds / work, 1, 1e-9);
  assert(speed.seconds > 0 && speed.seconds < 10);
});
