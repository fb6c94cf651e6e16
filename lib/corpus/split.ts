/**
 * Train, validation and test by whole groups, so that no test row has a twin in training.
 *
 * Groups are dealt in a seeded random order: test takes groups until it has its share, then
 * validation, and the rest trains. A group larger than `largestHeldOut` of the corpus (replies such
 * as "শুনে খারাপ লাগল।" may link many dialogues) always trains: in a held-out part it would be most
 * of what is measured. When too little is left for the held-out parts they share it in proportion,
 * and the report says so.
 *
 * @module
 */
import { type Random, seededRandom, shuffled } from "@lib/random.ts";
import type { SplitRecord } from "./records.ts";

/** Name of a part. */
export type SplitName = "train" | "val" | "test";

/** The parts in order. */
export const SPLIT_NAMES = ["train", "val", "test"] as const satisfies readonly SplitName[];

/** Options of {@linkcode splitByGroup}. */
export interface SplitOptions {
  /**
   * Shares of the parts; they sum to 1.
   * @default { train: 0.85, val: 0.1, test: 0.05 }
   */
  readonly shares?: Readonly<Record<SplitName, number>>;
  /** @default 42 */
  readonly seed?: number;
  /**
   * Use at most this many records, whole groups chosen at random (the original project: 15,000).
   * @default Infinity
   */
  readonly maxRecords?: number;
  /**
   * Largest share of the records that a group in val or test may have.
   * @default 0.02
   */
  readonly largestHeldOut?: number;
}

/** Counts of one part. */
export interface PartCounts {
  readonly rows: number;
  readonly groups: number;
  readonly topics: number;
  /** Part of all split rows, 0..1. */
  readonly share: number;
}

/** Every count of a split. */
export interface SplitReport {
  readonly seed: number;
  readonly rows: number;
  readonly groups: number;
  /** Records left out by `maxRecords`. */
  readonly leftOut: number;
  readonly largestGroup: number;
  /** Groups that had to train because of their size, and their rows. */
  readonly largeGroups: number;
  readonly largeGroupRows: number;
  readonly parts: Readonly<Record<SplitName, PartCounts>>;
  /** What did not come out as asked, in words. */
  readonly warnings: readonly string[];
}

/** Result of {@linkcode splitByGroup}; records keep their order within each part. */
export interface SplitResult extends Readonly<Record<SplitName, readonly SplitRecord[]>> {
  readonly report: SplitReport;
}

type Group = readonly SplitRecord[];

function checkOptions(shares: Readonly<Record<SplitName, number>>): void {
  const sum = shares.train + shares.val + shares.test;
  if (Math.abs(sum - 1) > 1e-9) {
    throw new RangeError(`Cannot split: expected shares that sum to 1, found ${sum}.`);
  }
  if (Math.min(shares.train, shares.val, shares.test) < 0) {
    throw new RangeError(
      `Cannot split: expected shares of at least 0, found ${JSON.stringify(shares)}.`,
    );
  }
}

/** Records by group, in order of first appearance. */
function byGroup(records: readonly SplitRecord[]): Group[] {
  const groups = new Map<number, SplitRecord[]>();
  for (const record of records) {
    const list = groups.get(record.group);
    if (list === undefined) groups.set(record.group, [record]);
    else list.push(record);
  }
  return [...groups.values()];
}

const countRows = (groups: readonly Group[]): number =>
  groups.reduce((sum, group) => sum + group.length, 0);

/** Whole groups in the given order that fit into `limit` rows together; the others apart. */
function takeWhileFits(groups: readonly Group[], limit: number): [Group[], Group[]] {
  const taken: Group[] = [];
  const left: Group[] = [];
  let rows = 0;
  for (const group of groups) {
    if (rows + group.length <= limit) {
      rows += group.length;
      taken.push(group);
    } else left.push(group);
  }
  return [taken, left];
}

/** Deal groups to the parts; see the module comment. */
function deal(
  groups: readonly Group[],
  shares: Readonly<Record<SplitName, number>>,
  largest: number,
  random: Random,
): { parts: Record<SplitName, Group[]>; large: Group[]; wanted: Record<"val" | "test", number> } {
  const total = countRows(groups);
  const large = groups.filter((group) => group.length > largest);
  const small = shuffled(random, groups.filter((group) => group.length <= largest));
  const wanted = { val: Math.round(shares.val * total), test: Math.round(shares.test * total) };
  const heldOut = wanted.val + wanted.test;
  const scale = heldOut === 0 ? 0 : Math.min(1, countRows(small) / heldOut);
  const [test, afterTest] = takeWhileFits(small, Math.floor(wanted.test * scale));
  const [val, rest] = takeWhileFits(afterTest, Math.floor(wanted.val * scale));
  return { parts: { train: [...large, ...rest], val, test }, large, wanted };
}

function countPart(records: readonly SplitRecord[], total: number): PartCounts {
  return {
    rows: records.length,
    groups: new Set(records.map(({ group }) => group)).size,
    topics: new Set(records.map(({ topic }) => topic)).size,
    share: total === 0 ? 0 : records.length / total,
  };
}

/**
 * Split grouped records.
 *
 * @throws {RangeError} when the shares do not sum to 1.
 */
export function splitByGroup(
  records: readonly SplitRecord[],
  options: SplitOptions = {},
): SplitResult {
  const {
    shares = { train: 0.85, val: 0.1, test: 0.05 },
    seed = 42,
    maxRecords = Infinity,
    largestHeldOut = 0.02,
  } = options;
  checkOptions(shares);
  const random = seededRandom(seed);
  const all = byGroup(records);
  const [groups] = maxRecords >= records.length
    ? [all]
    : takeWhileFits(shuffled(random, all), maxRecords);
  const rows = countRows(groups);
  const { parts, large, wanted } = deal(groups, shares, Math.max(1, largestHeldOut * rows), random);
  const inOrder = (part: readonly Group[]): SplitRecord[] =>
    part.flat().sort((a, b) => a.row - b.row);
  const result = {
    train: inOrder(parts.train),
    val: inOrder(parts.val),
    test: inOrder(parts.test),
  };
  const warnings = (["val", "test"] as const).flatMap((name) => {
    const found = result[name].length;
    return found >= 0.95 * wanted[name] ? [] : [
      `${name} has ${found} rows instead of ${wanted[name]}: ` +
      `${large.length} large groups with ${countRows(large)} rows must stay in train.`,
    ];
  });
  return {
    ...result,
    report: {
      seed,
      rows,
      groups: groups.length,
      leftOut: records.length - rows,
      largestGroup: Math.max(0, ...groups.map((group) => group.length)),
      largeGroups: large.length,
      largeGroupRows: countRows(large),
      parts: {
        train: countPart(result.train, rows),
        val: countPart(result.val, rows),
        test: countPart(result.test, rows),
      },
      warnings,
    },
  };
}
