/**
 * Semantic similarity: cosine of the vectors of answer and reference, beside a floor.
 *
 * Sentence vectors of any two Bengali texts about feelings lie close together: a cosine alone says
 * little. The floor is the same answer against the reference of another group; what counts is how far
 * the similarity stands above it.
 *
 * @module
 */
import type { OnProgress } from "@lib/phases.ts";
import { seededRandom, shuffled } from "@lib/random.ts";
import { BOOTSTRAP_SEED } from "./bootstrap.ts";
import { embedTexts } from "./embedding/encoder.ts";
import type { EncoderFolder } from "./embedding/encoder_folder.ts";
import { metricText } from "./metric_text.ts";

/** Similarity of one answer. */
export interface ItemSimilarity {
  /** Cosine to its own reference, −1..1. */
  readonly reference: number;
  /** Cosine to another group's reference; null where there is no other group. */
  readonly floor: number | null;
}

/** Cosine of two vectors of length 1; 0 where one of them is zero. */
export function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
}

/**
 * For each item the place of an item of another group, each place used once: a derangement.
 *
 * Groups are laid out one after another in an order drawn by the seed and shifted by the size of the
 * largest; as long as that is at most half of all, no item meets its own group.
 *
 * @returns null when one group holds more than half of the items
 *
 * @example
 * ```ts
 * import { otherPlaces } from "@lib/evaluation/semantic.ts";
 * import { assert } from "@std/assert";
 * const groups = ["a", "a", "b", "c", "c"];
 * const places = otherPlaces(groups, 1) ?? [];
 * assert(places.every((place, i) => groups[place] !== groups[i]));
 * ```
 */
export function otherPlaces(
  groups: readonly (number | string)[],
  seed: number = BOOTSTRAP_SEED,
): number[] | null {
  const members = new Map<number | string, number[]>();
  groups.forEach((group, i) => members.set(group, [...members.get(group) ?? [], i]));
  const largest = [...members.values()].reduce((most, list) => Math.max(most, list.length), 0);
  if (groups.length === 0 || largest * 2 > groups.length) return null;
  const random = seededRandom(seed);
  const line = shuffled(random, [...members.values()]).flatMap((list) => shuffled(random, list));
  const places = new Array<number>(groups.length).fill(0);
  line.forEach((item, i) => places[item] = line[(i + largest) % line.length] ?? 0);
  return places;
}

/** What is compared. */
export interface SimilarityInput {
  /** Answers by system, in the order of the references. */
  readonly answers: ReadonlyMap<string, readonly string[]>;
  readonly references: readonly string[];
  readonly groups: readonly (number | string)[];
}

/** Progress and interruption. */
export interface SimilarityOptions {
  /** Called with the distinct texts embedded, of all. */
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Similarities of every system's answers; each text is embedded once. An empty answer has similarity 0.
 *
 * @throws {EncoderError} when the encoder cannot run
 */
export async function measureSimilarity(
  encoder: EncoderFolder,
  { answers, references, groups }: SimilarityInput,
  { signal, onProgress }: SimilarityOptions = {},
): Promise<Map<string, ItemSimilarity[]>> {
  const all = [...references, ...[...answers.values()].flat()].map(metricText);
  const texts = [...new Set(all)].filter((text) => text !== "");
  const vectors = await embedTexts(encoder, texts, {
    signal,
    onProgress: (done) => onProgress?.(done, texts.length),
  });
  const byText = new Map(texts.map((text, i) => [text, vectors[i]!]));
  const nothing = new Float32Array();
  const vectorOf = (text: string | undefined) => byText.get(metricText(text ?? "")) ?? nothing;
  const others = otherPlaces(groups);
  const of = (answer: string, i: number): ItemSimilarity => ({
    reference: cosine(vectorOf(answer), vectorOf(references[i])),
    floor: others === null ? null : cosine(vectorOf(answer), vectorOf(references[others[i] ?? 0])),
  });
  return new Map([...answers].map(([name, list]) => [name, list.map(of)]));
}

/** What was measured, for reports. */
export function similaritySignature({ name, graph, pooling, head, prefix }: EncoderFolder): string {
  return `cosine|model:${name}|graph:${graph}|pool:${pooling}|dense:${
    head === null ? "no" : "yes"
  }|` +
    `prefix:${prefix.trim() || "none"}|floor:derangement,seed ${BOOTSTRAP_SEED}`;
}
