/**
 * The classifier beside the lexicon: a small network over the sounds of a text, for what people say
 * in words that no list has. It raises messages that the lexicon has nothing on, and lowers those of
 * which the lexicon knows a word but nothing else speaks of danger.
 *
 * The network is a table of 32,768 × 24 bytes and two small products, so no runtime is installed.
 *
 * @module
 */
import { z } from "zod";
import model from "../../data/guard/classifier.json" with { type: "json" };
import { FEATURES, featuresOf } from "./features.ts";
import { forward, type Network } from "./network.ts";

/**
 * What the classifier tells apart. `other` is somebody else with a passive wish, `other_intent` with
 * a plan or an attempt; `harm` is abuse, a minor at risk or a threat.
 */
export const CHANCES = [
  "none",
  "distress",
  "passive",
  "intent",
  "other",
  "other_intent",
  "harm",
  "grief",
] as const;
/** One of the things that the classifier tells apart. */
export type Chance = (typeof CHANCES)[number];
/** Those that are danger. */
export const DANGERS = [
  "passive",
  "intent",
  "other",
  "other_intent",
  "harm",
] as const satisfies readonly Chance[];
/** One of those that are danger. */
export type Danger = (typeof DANGERS)[number];

/** The trained model's file. */
export const ClassifierModel = z.strictObject({
  about: z.string(),
  features: z.literal(FEATURES),
  width: z.int().positive(),
  classes: z.array(z.enum(CHANCES)).refine(
    (names) => names.join() === CHANCES.join(),
    `expected ${CHANCES.join(", ")}`,
  ),
  /** An embedding is its signed byte times this. */
  scale: z.number().positive(),
  /** Signed bytes [features, width], base64. */
  embedding: z.base64(),
  bias: z.array(z.number()),
  output: z.array(z.number()),
  outputBias: z.array(z.number()),
  /** Least chance of danger at which a message that the lexicon has nothing on is raised. */
  raise: z.number().min(0).max(1),
  /** Least chance of danger at which what the lexicon found counts, of kinds that are often idiom. */
  keep: z.number().min(0).max(1),
});
/** The trained model's file. */
export type ClassifierModel = z.infer<typeof ClassifierModel>;

/** The classifier ready for use. */
export interface Classifier {
  readonly network: Network;
  readonly raise: number;
  readonly keep: number;
}

/** Reads a model's file. @throws {z.ZodError} one that is none, {RangeError} one that is cut */
export function readClassifier(file: unknown): Classifier {
  const { width, scale, embedding, bias, output, outputBias, raise, keep } = ClassifierModel.parse(
    file,
  );
  const bytes = new Int8Array(Uint8Array.fromBase64(embedding).buffer);
  const classes = CHANCES.length;
  const sizes = [bytes.length, bias.length, output.length, outputBias.length];
  const wanted = [FEATURES * width, width, classes * width, classes];
  if (sizes.join() !== wanted.join()) {
    throw new RangeError(
      `The classifier's file: expected ${wanted} numbers, found ${sizes}. ` +
        "Make it anew with lib/safety/train_classifier.ts.",
    );
  }
  const network: Network = {
    features: FEATURES,
    width,
    classes,
    embedding: Float32Array.from(bytes, (byte) => byte * scale),
    bias: Float32Array.from(bias),
    output: Float32Array.from(output),
    outputBias: Float32Array.from(outputBias),
  };
  return { network, raise, keep };
}

let loaded: Classifier | undefined;

/** The project's classifier, read once. */
export function safetyClassifier(): Classifier {
  return loaded ??= readClassifier(model);
}

/** Fewest sounds that are judged, and most in one window. */
const LEAST_SOUNDS = 10;
const MOST_SOUNDS = 400;

/** A stretch of a key. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/**
 * The stretches of a key that are judged: the whole where it is short, else runs of whole sentences
 * that overlap by half. A sentence longer than a window is cut.
 */
export function windowsOf(key: string): Window[] {
  if (key.length < LEAST_SOUNDS) return [];
  if (key.length <= MOST_SOUNDS) return [{ start: 0, end: key.length }];
  const ends = [...key.matchAll(/[.] /g)].map((found) => found.index + 2);
  const windows: Window[] = [];
  for (let start = 0; start < key.length;) {
    const last = ends.findLast((end) => end > start && end <= start + MOST_SOUNDS);
    const end = Math.min(key.length, last ?? start + MOST_SOUNDS);
    windows.push({ start, end });
    if (end === key.length) break;
    const middle = start + (end - start) / 2;
    start = ends.find((stop) => stop > middle && stop < end) ?? end;
  }
  return windows;
}

/** What the classifier makes of a text: the window that speaks of danger the most. */
export interface Reading extends Window {
  readonly chances: Readonly<Record<Chance, number>>;
  /** Chance of any danger. */
  readonly danger: number;
  /** The likeliest danger; intent before a wish where the two are close. */
  readonly kind: Danger;
}

/** Intent counts from this share of a passive wish's chance on: what is ambiguous is the higher. */
const INTENT_SHARE = 0.6;

/** Reads the chances of a window. */
function readingOf({ start, end }: Window, chances: ArrayLike<number>): Reading {
  const named = Object.fromEntries(
    CHANCES.map((name, at) => [name, chances[at] ?? 0]),
  ) as Record<Chance, number>;
  const { passive, intent, other, other_intent: plan, harm } = named;
  const own: Danger = intent >= INTENT_SHARE * passive ? "intent" : "passive";
  const others: Danger = plan >= INTENT_SHARE * other ? "other_intent" : "other";
  const best = Math.max(passive + intent, other + plan, harm);
  const kind = best === harm ? "harm" : best === passive + intent ? own : others;
  return { start, end, chances: named, danger: passive + intent + other + plan + harm, kind };
}

/**
 * Reads a match key; null for one too short to judge.
 *
 * @param key idioms and denials blanked
 */
export function read(key: string, { network } = safetyClassifier()): Reading | null {
  let worst: Reading | null = null;
  for (const window of windowsOf(key)) {
    const reading = readingOf(
      window,
      forward(network, featuresOf(key.slice(window.start, window.end))),
    );
    if (worst === null || reading.danger > worst.danger) worst = reading;
  }
  return worst;
}
