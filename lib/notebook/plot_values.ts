/**
 * How plots take in their values.
 *
 * @module
 */

/** Values a group, in order: a record or a list of pairs. */
export type Named<T> = Readonly<Record<string, T>> | readonly (readonly [string, T])[];

/** Names and values, in order. */
export const entriesOf = <T>(named: Named<T>): readonly (readonly [string, T])[] =>
  Array.isArray(named) ? named : Object.entries(named);
/** Values with gaps where they are not finite. */
export const finite = (values: readonly number[]) =>
  values.map((value) => Number.isFinite(value) ? value : null);

/** Refuses lists that are not as long as the points they belong to. */
export function checkLengths(
  name: string,
  expected: number,
  lists: Readonly<Record<string, number>>,
) {
  for (const [list, length] of Object.entries(lists)) {
    if (length === expected) continue;
    throw new RangeError(
      `Cannot plot "${name}": expected ${expected} values in ${list}, as many as its points, ` +
        `found ${length}`,
    );
  }
}
