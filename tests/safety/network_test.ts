import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { seededRandom } from "@lib/random.ts";
import { emptyNetwork, forward, passOf } from "@lib/safety/network.ts";
import { type Sample, trainNetwork } from "@lib/safety/network_training.ts";

Deno.test("forward is softmax(W · relu(Σ E / √n + b) + c), by hand", () => {
  const network = emptyNetwork({ features: 4, width: 2, classes: 3 });
  network.embedding.set([1, -2, 0.5, 3, -1, 0.25, 8, 8]);
  network.bias.set([0.1, -0.2]);
  network.output.set([1, 0, -1, 2, 0.5, 0.5]);
  network.outputBias.set([0, 0.3, -0.3]);
  // Features 0 and 2: sums (0, -1.75) / √2 + b = (0.1, -1.4374…) → relu (0.1, 0).
  const logits = [0.1, -0.1 + 0.3, 0.05 - 0.3];
  const total = logits.reduce((sum, one) => sum + Math.exp(one), 0);
  const chances = forward(network, [0, 2]);
  logits.forEach((logit, k) => assertAlmostEquals(chances[k] ?? 0, Math.exp(logit) / total, 1e-6));
  assertAlmostEquals(
    forward(network, []).reduce((sum, one) => sum + one, 0),
    1,
    1e-12,
    "a text without features",
  );
});

/** Two features of one of two pairs say one class, of both pairs the other: no linear score can. */
function exclusiveOr(count: number, seed: number): Sample[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const [a, b] = [random() < 0.5, random() < 0.5];
    const noise = Array.from({ length: 3 }, () => 4 + Math.floor(random() * 60));
    const features = Int32Array.from(new Set([a ? 0 : 1, b ? 2 : 3, ...noise]));
    return { features, label: a === b ? 0 : 1, weight: 1 };
  });
}

Deno.test("training learns what no linear score can, and generalises", () => {
  const shape = { features: 64, width: 8, classes: 2 };
  const network = trainNetwork(exclusiveOr(2000, 1), shape, { seed: 3, epochs: 20, dropout: 0 });
  const pass = passOf(network);
  const fresh = exclusiveOr(500, 2);
  const right = fresh.filter(({ features, label }) =>
    (forward(network, features, pass)[label] ?? 0) > 0.5
  );
  assert(right.length >= 490, `${right.length} of 500`);
});

Deno.test("the same seed gives the same bits, another seed others; a weight of zero teaches nothing", () => {
  const samples = exclusiveOr(200, 5);
  const shape = { features: 64, width: 4, classes: 2 };
  const train = (seed: number, list: readonly Sample[] = samples) =>
    trainNetwork(list, shape, { seed, epochs: 2 });
  assertEquals(train(1).embedding, train(1).embedding);
  assert(train(1).embedding.some((one, at) => one !== train(2).embedding[at]));
  const mute = samples.map((sample) => ({ ...sample, weight: 0 }));
  assertEquals(train(1, mute).outputBias, new Float32Array(2));
});
