/**
 * From files of pairs to systems that answered the same items.
 *
 * @module
 */
import { type Pair, PairFileError } from "./pair_file.ts";
import type { EvaluationItem } from "./scored_item.ts";

/** A file as read. */
export interface PairSource {
  /** What the system is called where its lines do not say. */
  readonly name: string;
  readonly pairs: readonly Pair[];
}

/** One system's answers. */
export interface SystemAnswers {
  readonly name: string;
  readonly items: readonly EvaluationItem[];
}

/** Systems over the same items, in the same order. */
export interface AlignedSystems {
  readonly systems: readonly SystemAnswers[];
  /** Lines that not every system has, left out; 0 where nothing was matched by id. */
  readonly unmatched: number;
  /** Items without a prompt. */
  readonly withoutPrompt: number;
}

/** Pairs by system, in order of appearance; a file without the field is one system. */
function bySystem(sources: readonly PairSource[]): Map<string, Pair[]> {
  const systems = new Map<string, Pair[]>();
  for (const { name, pairs } of sources) {
    const taken = new Set(systems.keys());
    for (const pair of pairs) {
      const system = pair.system ?? name;
      if (taken.has(system)) {
        throw new PairFileError(
          `${name}: expected systems of other names than the files before, found '${system}' ` +
            `again. Rename the file, or give each line its own "system".`,
        );
      }
      systems.set(system, [...systems.get(system) ?? [], pair]);
    }
  }
  return systems;
}

/** Pairs by id. @throws {PairFileError} an id that occurs twice */
function byId(name: string, pairs: readonly Pair[]): Map<string | number, Pair> {
  const found = new Map<string | number, Pair>();
  for (const pair of pairs) {
    if (pair.id === undefined) continue;
    if (found.has(pair.id)) {
      throw new PairFileError(
        `System '${name}': expected each id once, found '${pair.id}' twice. Give each item its own id.`,
      );
    }
    found.set(pair.id, pair);
  }
  return found;
}

/** The items that all systems have, by id where every line has one, else by place. */
function matched(systems: ReadonlyMap<string, readonly Pair[]>): Map<string, Pair[]> {
  const all = [...systems];
  const named = all.every(([, pairs]) => pairs.every(({ id }) => id !== undefined));
  if (!named || all.length < 2) return new Map(all.map(([name, pairs]) => [name, [...pairs]]));
  const tables = all.map(([name, pairs]) => byId(name, pairs));
  const ids = [...tables[0]?.keys() ?? []].filter((id) => tables.every((table) => table.has(id)));
  if (ids.length === 0) {
    throw new PairFileError(
      "Cannot compare: expected systems with ids in common, found none. Check the ids of the files.",
    );
  }
  return new Map(all.map(([name], i) => [
    name,
    ids.flatMap((id) => tables[i]?.get(id) ?? []),
  ]));
}

/** @throws {PairFileError} systems whose items differ, with the place of the first difference */
function checkSame(systems: ReadonlyMap<string, readonly Pair[]>): void {
  const [first, ...rest] = [...systems];
  if (first === undefined) return;
  for (const [name, pairs] of rest) {
    const at = first[1].findIndex((one, i) => {
      const other = pairs[i];
      return other === undefined || one.reference !== other.reference ||
        one.prompt !== other.prompt || one.group !== other.group;
    });
    if (at < 0 && pairs.length === first[1].length) continue;
    throw new PairFileError(
      `Cannot compare '${
        first[0]
      }' and '${name}': expected the same prompts, references and groups ` +
        `in the same order, found a difference at item ${at < 0 ? first[1].length + 1 : at + 1} ` +
        `(${
          first[1].length
        } and ${pairs.length} items). Give every line an "id" to match them by it.`,
    );
  }
}

function itemOf(pair: Pair, place: number): EvaluationItem {
  return {
    id: pair.id ?? place + 1,
    // A line without a group stands alone.
    group: pair.group ?? `line ${place + 1}`,
    question: pair.prompt ?? "",
    reference: pair.reference,
    hypothesis: pair.hypothesis,
  };
}

/**
 * Brings systems over one set of items.
 *
 * @throws {PairFileError} items that cannot be matched
 *
 * @example
 * ```ts
 * import { alignSystems } from "@lib/evaluation/systems.ts";
 * import { assertEquals } from "@std/assert";
 * const pair = { reference: "বলুন।", prompt: "মন ভালো নেই।" };
 * const { systems } = alignSystems([
 *   { name: "a", pairs: [{ ...pair, hypothesis: "শুনছি।" }] },
 *   { name: "b", pairs: [{ ...pair, hypothesis: "আচ্ছা।" }] },
 * ]);
 * assertEquals(systems.map(({ name }) => name), ["a", "b"]);
 * ```
 */
export function alignSystems(sources: readonly PairSource[]): AlignedSystems {
  const systems = bySystem(sources);
  const same = matched(systems);
  checkSame(same);
  const lines = (map: ReadonlyMap<string, readonly Pair[]>) =>
    [...map.values()].reduce((sum, pairs) => sum + pairs.length, 0);
  const [first = []] = same.values();
  return {
    systems: [...same].map(([name, pairs]) => ({ name, items: pairs.map(itemOf) })),
    unmatched: lines(systems) - lines(same),
    withoutPrompt: first.filter(({ prompt }) => prompt === undefined).length,
  };
}
