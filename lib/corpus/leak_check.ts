/**
 * The proof that a split does not leak, by other means than those that made it.
 *
 * Grouping finds near-duplicates with an index over rare grams. Here every held-out text is compared
 * with every text of the other parts, exhaustively; what makes that fast is a bound. Each text's
 * 5-grams are hashed to 256 bits by parity (a bit flips for every gram that lands on it). A gram in
 * both texts flips the same bit in both, so the number of bits that differ is at most the number of
 * grams that only one of them has, |A Δ B|. With Jaccard ≥ t, |A Δ B| ≤ (|A|+|B|)·(1−t)/(1+t): a pair
 * whose bits differ in more places cannot be a near-duplicate. All others are counted exactly.
 *
 * @module
 */
import { type OnPhase, type OnProgress, partOf, phaseOf } from "@lib/phases.ts";
import { NEAR_DUPLICATE_THRESHOLD } from "./dedupe.ts";
import { CorpusError } from "./errors.ts";
import { GRAM_LENGTH } from "./grams.ts";
import type { SplitRecord } from "./records.ts";
import type { SplitName } from "./split.ts";
import { matchKey } from "./text_key.ts";

/** One way in which two parts share what they must not. */
export interface Leak {
  readonly kind: "group" | "run" | "question" | "answer";
  readonly rows: readonly [number, number];
  readonly parts: readonly [SplitName, SplitName];
  /** Jaccard similarity of the texts; 1 for groups and runs. */
  readonly similarity: number;
}

/** The parts to compare. */
export type Parts = Readonly<Record<SplitName, readonly SplitRecord[]>>;

const PAIRS = [["test", "train"], ["test", "val"], ["val", "train"]] as const;

function grams(key: string): Set<string> {
  const set = new Set<string>();
  for (let k = 0; k + GRAM_LENGTH <= key.length; k++) set.add(key.slice(k, k + GRAM_LENGTH));
  if (set.size === 0) set.add(key);
  return set;
}

function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let common = 0;
  for (const gram of a) if (b.has(gram)) common++;
  return common / (a.size + b.size - common);
}

function popcount(bits: number): number {
  let x = bits - ((bits >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** 32-bit words of parity bits a text. */
const WORDS = 8;

/** Distinct texts of a part with size and parity bits, ascending by size. */
interface Signatures {
  readonly keys: readonly string[];
  readonly rows: readonly number[];
  readonly sizes: Int32Array;
  /** `WORDS` words a text. */
  readonly bits: Int32Array;
}

function parityBits(set: ReadonlySet<string>): Int32Array {
  const bits = new Int32Array(WORDS);
  for (const gram of set) {
    let hash = 7;
    for (let k = 0; k < gram.length; k++) hash = (Math.imul(hash, 31) + gram.charCodeAt(k)) | 0;
    const bit = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b) >>> 24;
    bits[bit >>> 5]! ^= 1 << (bit & 31);
  }
  return bits;
}

function signatures(
  records: readonly SplitRecord[],
  field: "question" | "answer",
  tick: () => void,
): Signatures {
  const rowOf = new Map<string, number>();
  for (const record of records) {
    const key = matchKey(record[field]);
    if (!rowOf.has(key)) rowOf.set(key, record.row);
  }
  const items = [...rowOf].map(([key, row]) => {
    const set = grams(key);
    tick();
    return { key, row, size: set.size, bits: parityBits(set) };
  }).sort((a, b) => a.size - b.size);
  const bits = new Int32Array(items.length * WORDS);
  items.forEach((item, i) => bits.set(item.bits, i * WORDS));
  return {
    keys: items.map(({ key }) => key),
    rows: items.map(({ row }) => row),
    sizes: Int32Array.from(items, ({ size }) => size),
    bits,
  };
}

/** Whether text `i` of `a` and text `j` of `b` differ in at most `limit` parity bits. */
function fewBitsDiffer(a: Signatures, i: number, b: Signatures, j: number, limit: number): boolean {
  let differing = 0;
  for (let w = 0; w < WORDS; w++) {
    differing += popcount(a.bits[i * WORDS + w]! ^ b.bits[j * WORDS + w]!);
    if (differing > limit) return false;
  }
  return true;
}

/** Pairs (index in a, index in b) whose sizes and parity bits do not rule out Jaccard ≥ t. */
function survivors(
  a: Signatures,
  b: Signatures,
  t: number,
  tick: () => void,
): [number, number][] {
  const pairs: [number, number][] = [];
  let from = 0;
  for (let i = 0; i < a.sizes.length; i++) {
    tick();
    const size = a.sizes[i]!;
    while (from < b.sizes.length && b.sizes[from]! < t * size - 1e-9) from++;
    for (let j = from; j < b.sizes.length && t * b.sizes[j]! <= size + 1e-9; j++) {
      const limit = (size + b.sizes[j]!) * (1 - t) / (1 + t) + 1e-9;
      if (fewBitsDiffer(a, i, b, j, limit)) pairs.push([i, j]);
    }
  }
  return pairs;
}

/** Counts calls, of so many, as a share of a total. */
function ticks(onProgress: OnProgress | undefined, calls: number, total: number): () => void {
  if (onProgress === undefined) return () => {};
  let done = 0;
  return () => onProgress(++done * total / calls, total);
}

/** Rows of two parts that share a value. */
function sharedValues(
  a: readonly SplitRecord[],
  b: readonly SplitRecord[],
  kind: "group" | "run",
): [number, number][] {
  const rowOf = new Map(b.map((record) => [record[kind], record.row]));
  return a.flatMap((record): [number, number][] => {
    const row = rowOf.get(record[kind]);
    return row === undefined ? [] : [[record.row, row]];
  });
}

/**
 * All leaks between the parts of a split: shared groups, shared runs of same-topic rows, equal or
 * nearly equal questions, equal or nearly equal answers.
 *
 * @param threshold Jaccard similarity of letter 5-grams from which texts are near-duplicates.
 * @param onPhase told how many of the texts are checked
 */
export function findLeaks(
  parts: Parts,
  threshold: number = NEAR_DUPLICATE_THRESHOLD,
  onPhase?: OnPhase,
): Leak[] {
  const leaks: Leak[] = [];
  for (const kind of ["group", "run"] as const) {
    for (const [x, y] of PAIRS) {
      for (const rows of sharedValues(parts[x], parts[y], kind)) {
        leaks.push({ kind, rows, parts: [x, y], similarity: 1 });
      }
    }
  }
  for (const field of ["question", "answer"] as const) {
    const checking = phaseOf(onPhase, `leak check by ${field}`);
    const texts = parts.train.length + parts.val.length + parts.test.length;
    const signing = ticks(partOf(checking, 0, 0.5), texts, texts);
    const of = {
      train: signatures(parts.train, field, signing),
      val: signatures(parts.val, field, signing),
      test: signatures(parts.test, field, signing),
    };
    const comparisons = PAIRS.reduce((sum, [x]) => sum + of[x].sizes.length, 0);
    const comparing = ticks(partOf(checking, 0.5, 1), comparisons, texts);
    for (const [x, y] of PAIRS) {
      for (const [i, j] of survivors(of[x], of[y], threshold, comparing)) {
        const similarity = jaccard(grams(of[x].keys[i]!), grams(of[y].keys[j]!));
        if (similarity < threshold) continue;
        const rows = [of[x].rows[i]!, of[y].rows[j]!] as const;
        leaks.push({ kind: field, rows, parts: [x, y], similarity });
      }
    }
  }
  return leaks;
}

/**
 * Assert that no group, no run and no (near-)duplicate question or answer crosses the split.
 *
 * @throws {CorpusError} naming the first leaks.
 */
export function assertNoLeaks(
  parts: Parts,
  threshold: number = NEAR_DUPLICATE_THRESHOLD,
  onPhase?: OnPhase,
): void {
  const leaks = findLeaks(parts, threshold, onPhase);
  if (leaks.length === 0) return;
  const shown = leaks.slice(0, 3).map(({ kind, rows, parts: [x, y], similarity }) =>
    `${kind} of row ${rows[0]} (${x}) and row ${rows[1]} (${y}), similarity ${
      similarity.toFixed(3)
    }`
  );
  throw new CorpusError(
    `The split leaks: expected nothing shared between train, val and test, found ${leaks.length} ` +
      `shared: ${shown.join("; ")}. Group the records with groupRecords at the same threshold ` +
      `(${threshold}) before splitting.`,
  );
}
