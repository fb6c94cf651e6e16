/**
 * Texts as sets of letter 5-grams, numbered so that comparing two sets is merging two sorted lists.
 *
 * @module
 */
import { type OnProgress, partOf } from "@lib/phases.ts";

/** Length of a gram, in UTF-16 units (for Bengali the same as code points). */
export const GRAM_LENGTH = 5;

/** The gram sets of a list of texts. */
export interface GramSets {
  /** Per text its distinct grams, ascending; a smaller number is a gram that fewer texts have. */
  readonly sets: readonly Int32Array[];
  /** Number of distinct grams over all texts. */
  readonly gramCount: number;
}

/** Numbers for 5-grams: an open-addressing table that compares the letters themselves. */
class GramTable {
  readonly #text: Uint16Array;
  #slots = new Int32Array(1 << 16).fill(-1);
  #offsets = new Int32Array(1 << 15);
  count = 0;

  constructor(text: Uint16Array) {
    this.#text = text;
  }

  #hash(offset: number): number {
    const text = this.#text;
    let hash = 0x811c9dc5;
    for (let k = 0; k < GRAM_LENGTH; k++) hash = Math.imul(hash ^ text[offset + k]!, 0x01000193);
    hash ^= hash >>> 15;
    return Math.imul(hash, 0x2c1b3c6d) >>> 0;
  }

  #equal(a: number, b: number): boolean {
    const text = this.#text;
    for (let k = 0; k < GRAM_LENGTH; k++) if (text[a + k] !== text[b + k]) return false;
    return true;
  }

  /** Number of the gram that starts at an offset of the text; a new one when it is new. */
  number(offset: number): number {
    const mask = this.#slots.length - 1;
    let slot = this.#hash(offset) & mask;
    for (;;) {
      const gram = this.#slots[slot]!;
      if (gram < 0) break;
      if (this.#equal(this.#offsets[gram]!, offset)) return gram;
      slot = (slot + 1) & mask;
    }
    const gram = this.count++;
    this.#slots[slot] = gram;
    this.#offsets[gram] = offset;
    if (this.count * 2 >= this.#slots.length) this.#grow();
    return gram;
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2).fill(-1);
    const mask = slots.length - 1;
    for (let gram = 0; gram < this.count; gram++) {
      let slot = this.#hash(this.#offsets[gram]!) & mask;
      while (slots[slot]! >= 0) slot = (slot + 1) & mask;
      slots[slot] = gram;
    }
    const offsets = new Int32Array(slots.length / 2);
    offsets.set(this.#offsets);
    this.#slots = slots;
    this.#offsets = offsets;
  }
}

/** Sorted copy without repetitions; sorts its argument. */
function distinct(numbers: Int32Array): Int32Array {
  numbers.sort();
  let length = 0;
  for (let i = 0; i < numbers.length; i++) {
    if (i === 0 || numbers[i] !== numbers[i - 1]) numbers[length++] = numbers[i]!;
  }
  return numbers.slice(0, length);
}

/** New number per gram: rank by how many texts have it, rarest first. */
function ranksByRarity(sets: readonly Int32Array[], gramCount: number): Int32Array {
  const frequency = new Int32Array(gramCount);
  let most = 0;
  for (const set of sets) for (const gram of set) most = Math.max(most, ++frequency[gram]!);
  const start = new Int32Array(most + 2);
  for (const f of frequency) start[f + 1]!++;
  for (let f = 1; f < start.length; f++) start[f] = start[f]! + start[f - 1]!;
  return frequency.map((f) => start[f]!++);
}

/**
 * Sets of letter 5-grams of texts (usually matching keys). A text shorter than five units is one
 * gram: itself.
 *
 * @param onProgress called with the texts done, of all
 */
export function gramSets(texts: readonly string[], onProgress?: OnProgress): GramSets {
  const [cutting, ranking] = [partOf(onProgress, 0, 0.6), partOf(onProgress, 0.6, 1)];
  const lengths = texts.map((text) => Math.max(GRAM_LENGTH, text.length));
  const letters = new Uint16Array(lengths.reduce((sum, length) => sum + length, 0));
  const table = new GramTable(letters);
  const scratch = new Int32Array(lengths.reduce((most, length) => Math.max(most, length), 0));
  let start = 0;
  const sets = texts.map((text, i) => {
    for (let k = 0; k < text.length; k++) letters[start + k] = text.charCodeAt(k);
    const grams = scratch.subarray(0, lengths[i]! - GRAM_LENGTH + 1);
    for (let k = 0; k < grams.length; k++) grams[k] = table.number(start + k);
    start += lengths[i]!;
    cutting?.(i + 1, texts.length);
    return distinct(grams);
  });
  const rank = ranksByRarity(sets, table.count);
  sets.forEach((set, i) => {
    for (let k = 0; k < set.length; k++) set[k] = rank[set[k]!]!;
    set.sort();
    ranking?.(i + 1, texts.length);
  });
  return { sets, gramCount: table.count };
}
