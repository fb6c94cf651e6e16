/** Synthetic samples with the lengths of the original project's data: no corpus, no tokenizer. */
import type { Sample } from "@lib/chat/sample.ts";
import { type Random, randomInt, seededRandom } from "@lib/random.ts";

/** How samples are drawn. Lengths in tokens. */
export interface SampleShape {
  /** Template and system prompt, the same in every sample. */
  readonly prefix: number;
  /** Question and answer: normal, clipped to [least, mean + 3 spread]. */
  readonly mean: number;
  readonly spread: number;
  readonly least: number;
  /** Share of a sample's own tokens that are the answer. */
  readonly answer: number;
}

/**
 * The original project's data: 336 constant tokens, 170 ± 60 of the sample's own. Answers are about
 * 60 % of those in the corpus.
 */
export const SEED_SHAPE: SampleShape = {
  prefix: 336,
  mean: 170,
  spread: 60,
  least: 40,
  answer: 0.6,
};

/** The same filled up to 512 tokens, as many answer tokens, nothing in common between samples. */
export const FULL_SHAPE: SampleShape = {
  prefix: 0,
  mean: 512,
  spread: 0,
  least: 512,
  answer: 0.2,
};

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A sample's own length. */
function drawLength(random: Random, { mean, spread, least }: SampleShape): number {
  const drawn = mean + spread * normal(random);
  return Math.round(Math.min(Math.max(drawn, least), mean + 3 * spread));
}

/**
 * Draws samples of random token ids.
 *
 * @param count how many
 * @param vocabulary ids are below it
 * @param seed the same seed gives the same samples; the prefix does not depend on it
 */
export function drawSamples(
  count: number,
  vocabulary: number,
  shape: SampleShape = SEED_SHAPE,
  seed = 1,
): Sample[] {
  const common = seededRandom(0);
  const prefix = Array.from({ length: shape.prefix }, () => randomInt(common, vocabulary));
  const random = seededRandom(seed + 1);
  return Array.from({ length: count }, (_, id) => {
    const own = drawLength(random, shape);
    const answer = Math.max(1, Math.min(own - 1, Math.round(own * shape.answer)));
    const tokens = new Int32Array(shape.prefix + own);
    tokens.set(prefix);
    for (let i = shape.prefix; i < tokens.length; i++) tokens[i] = randomInt(random, vocabulary);
    return { id, tokens, answerStart: tokens.length - answer };
  });
}
