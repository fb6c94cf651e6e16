/**
 * Trains a {@linkcode Network} by AdaGrad, one sample after another. Seeded.
 *
 * @module
 */
import { type Random, seededRandom } from "@lib/random.ts";
import { emptyNetwork, forward, type Network, type NetworkShape, passOf } from "./network.ts";

/** One sample to learn from. */
export interface Sample {
  readonly features: Int32Array;
  readonly label: number;
  /** How much it counts. */
  readonly weight: number;
}

/** How to train. */
export interface TrainingOptions {
  readonly seed: number;
  /** @default 8 */
  readonly epochs?: number;
  /** AdaGrad's rate; falls linearly to a tenth. @default 0.06 */
  readonly rate?: number;
  /** Share of a sample's features left out, anew each time. @default 0.4 */
  readonly dropout?: number;
}

/** A copy in random order. */
export function shuffled<T>(list: readonly T[], random: Random): T[] {
  const copy = [...list];
  for (let at = copy.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    const [a, b] = [copy[at], copy[other]];
    if (a !== undefined && b !== undefined) [copy[at], copy[other]] = [b, a];
  }
  return copy;
}

/** Parameters of one kind and AdaGrad's sums of squares for them. */
class Learner {
  readonly #squares: Float32Array;

  constructor(readonly values: Float32Array) {
    this.#squares = new Float32Array(values.length).fill(1e-3);
  }

  step(at: number, slope: number, rate: number): void {
    const square = (this.#squares[at] ?? 0) + slope * slope;
    this.#squares[at] = square;
    this.values[at] = (this.values[at] ?? 0) - rate * slope / Math.sqrt(square);
  }
}

/** Trains a network from random small embeddings. */
export function trainNetwork(
  samples: readonly Sample[],
  shape: NetworkShape,
  options: TrainingOptions,
): Network {
  const { seed, epochs = 8, rate: firstRate = 0.06, dropout = 0.4 } = options;
  const random = seededRandom(seed);
  const network = emptyNetwork(shape);
  const { width, classes } = shape;
  const fill = (values: Float32Array, range: number) => {
    for (let at = 0; at < values.length; at++) values[at] = (random() * 2 - 1) * range;
  };
  fill(network.embedding, 0.05);
  fill(network.output, Math.sqrt(3 / width));
  const embedding = new Learner(network.embedding);
  const bias = new Learner(network.bias);
  const output = new Learner(network.output);
  const outputBias = new Learner(network.outputBias);
  const pass = passOf(network);
  const hidden = new Float64Array(width);
  let kept = new Int32Array(1024);
  let done = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    for (const { features, label, weight } of shuffled(samples, random)) {
      const rate = firstRate * (1 - 0.9 * done++ / (samples.length * epochs));
      if (features.length > kept.length) kept = new Int32Array(features.length);
      let count = 0;
      for (const feature of features) if (random() >= dropout) kept[count++] = feature;
      if (count === 0) continue;
      const used = kept.subarray(0, count);
      const chances = forward(network, used, pass);
      hidden.fill(0);
      for (let k = 0; k < classes; k++) {
        const slope = ((chances[k] ?? 0) - (k === label ? 1 : 0)) * weight;
        outputBias.step(k, slope, rate);
        for (let j = 0; j < width; j++) {
          const active = pass.before[j] ?? 0;
          if (active <= 0) continue;
          hidden[j] = (hidden[j] ?? 0) + slope * (network.output[k * width + j] ?? 0);
          output.step(k * width + j, slope * active, rate);
        }
      }
      const scale = 1 / Math.sqrt(count);
      for (let j = 0; j < width; j++) {
        const slope = hidden[j] ?? 0;
        if (slope === 0) continue;
        bias.step(j, slope, rate);
        for (let i = 0; i < count; i++) {
          embedding.step((used[i] ?? 0) * width + j, slope * scale, rate);
        }
      }
    }
  }
  return network;
}
