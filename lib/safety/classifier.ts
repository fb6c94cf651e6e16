/**
 * The classifier beside the lexicon: three linear scores over the sounds of a text, for what people
 * say in words that no list has. It only ever raises a message to level 2 or 4, never lowers one.
 *
 * A dot product needs no runtime of its own, so none is installed.
 *
 * @module
 */
import { z } from "zod";
import model from "../../data/guard/classifier.json" with { type: "json" };
import { FEATURES, featuresOf } from "./features.ts";

/** What the classifier tells apart from everything else. */
export const HEADS = ["self", "other", "harm"] as const;
export type Head = (typeof HEADS)[number];

const HeadModel = z.strictObject({
  bias: z.number(),
  /** A weight is its signed byte times this. */
  scale: z.number().nonnegative(),
  /** Score from which on the head fires. */
  threshold: z.number(),
  /** {@link FEATURES} signed bytes, base64. */
  weights: z.base64(),
});

/** The trained model's file. */
export const ClassifierModel = z.strictObject({
  about: z.string(),
  features: z.literal(FEATURES),
  heads: z.record(z.enum(HEADS), HeadModel),
});
export type ClassifierModel = z.infer<typeof ClassifierModel>;

/** A linear score ready for use. */
export interface LinearScore {
  readonly weights: ArrayLike<number>;
  readonly bias: number;
  readonly threshold: number;
}

let loaded: Readonly<Record<Head, LinearScore>> | undefined;

function scores(): Readonly<Record<Head, LinearScore>> {
  if (loaded !== undefined) return loaded;
  const { heads } = ClassifierModel.parse(model);
  const read = (head: Head): LinearScore => {
    const { bias, scale, threshold, weights } = heads[head];
    const bytes = Uint8Array.from(atob(weights), (char) => char.charCodeAt(0));
    const values = Float32Array.from(new Int8Array(bytes.buffer), (byte) => byte * scale);
    return { weights: values, bias, threshold };
  };
  loaded = { self: read("self"), other: read("other"), harm: read("harm") };
  return loaded;
}

/** The score of a set of features. */
export function scoreOf(features: readonly number[], { weights, bias }: LinearScore): number {
  let sum = 0;
  for (const feature of features) sum += weights[feature] ?? 0;
  return features.length === 0 ? bias : sum / Math.sqrt(features.length) + bias;
}

/** Fewest sounds that are judged at all. */
const LEAST_SOUNDS = 16;

/** A stretch of the key that a head fired on. */
export interface Judgement {
  readonly head: Head;
  readonly start: number;
  readonly end: number;
}

/** The stretches of a key that are judged: the whole, where it is short, and every sentence. */
export function windowsOf(key: string): { readonly start: number; readonly end: number }[] {
  const windows: { start: number; end: number }[] = [];
  let start = 0;
  for (const stop of [...key.matchAll(/\. /g)].map((found) => found.index).concat(key.length)) {
    if (stop - start >= LEAST_SOUNDS) windows.push({ start, end: stop });
    start = stop + 2;
  }
  if (windows.length > 1 && key.length <= 400) windows.unshift({ start: 0, end: key.length });
  return windows;
}

/**
 * Judges a key: the head that fires highest above its threshold, or null.
 *
 * @param key a match key, idioms blanked
 */
export function judge(key: string): Judgement | null {
  const linear = scores();
  let best: (Judgement & { readonly by: number }) | null = null;
  for (const { start, end } of windowsOf(key)) {
    const features = featuresOf(key.slice(start, end));
    for (const head of HEADS) {
      const by = scoreOf(features, linear[head]) - linear[head].threshold;
      if (by > 0 && (best === null || by > best.by)) best = { head, start, end, by };
    }
  }
  return best === null ? null : { head: best.head, start: best.start, end: best.end };
}
