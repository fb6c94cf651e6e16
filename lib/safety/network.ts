/**
 * A network of one hidden layer over a bag of hashed features:
 * `p = softmax(W · relu(Σ E[f] / √n + b) + c)`, which tells apart what no linear score over the bag can.
 *
 * @module
 */

/** Sizes of a network. */
export interface NetworkShape {
  /** Number of features, the rows of E. */
  readonly features: number;
  /** Hidden units, the columns of E. */
  readonly width: number;
  /** Classes, the rows of W. */
  readonly classes: number;
}

/** The parameters of a network. */
export interface Network extends NetworkShape {
  /** E, [features, width]. */
  readonly embedding: Float32Array;
  /** b, [width]. */
  readonly bias: Float32Array;
  /** W, [classes, width]. */
  readonly output: Float32Array;
  /** c, [classes]. */
  readonly outputBias: Float32Array;
}

/** A network of zeros. */
export function emptyNetwork({ features, width, classes }: NetworkShape): Network {
  return {
    features,
    width,
    classes,
    embedding: new Float32Array(features * width),
    bias: new Float32Array(width),
    output: new Float32Array(classes * width),
    outputBias: new Float32Array(classes),
  };
}

/** What a pass leaves behind for the gradient; made once, used again. */
export interface Pass {
  /** relu's inputs, [width]. */
  readonly before: Float64Array;
  /** Class probabilities, [classes]. */
  readonly chances: Float64Array;
}

/** Room for a pass. */
export function passOf({ width, classes }: NetworkShape): Pass {
  return { before: new Float64Array(width), chances: new Float64Array(classes) };
}

/**
 * The probabilities of the classes, in `pass.chances`.
 *
 * @param features indices of E's rows, each below `network.features`
 */
export function forward(
  network: Network,
  features: ArrayLike<number>,
  pass: Pass = passOf(network),
): Float64Array {
  const { width, classes, embedding, bias, output, outputBias } = network;
  const { before, chances } = pass;
  before.fill(0);
  for (let i = 0; i < features.length; i++) {
    const row = (features[i] ?? 0) * width;
    for (let j = 0; j < width; j++) before[j] = (before[j] ?? 0) + (embedding[row + j] ?? 0);
  }
  const scale = 1 / Math.sqrt(Math.max(1, features.length));
  for (let j = 0; j < width; j++) before[j] = (before[j] ?? 0) * scale + (bias[j] ?? 0);
  let most = -Infinity;
  for (let k = 0; k < classes; k++) {
    let sum = outputBias[k] ?? 0;
    for (let j = 0; j < width; j++) {
      sum += (output[k * width + j] ?? 0) * Math.max(0, before[j] ?? 0);
    }
    chances[k] = sum;
    most = Math.max(most, sum);
  }
  let total = 0;
  for (let k = 0; k < classes; k++) total += chances[k] = Math.exp((chances[k] ?? 0) - most);
  for (let k = 0; k < classes; k++) chances[k] = (chances[k] ?? 0) / total;
  return chances;
}
