/**
 * Things that must be closed, kept by name: running a cell again closes what it opened before.
 *
 * The garbage collector does not see native memory, and a variable that is assigned anew forgets what
 * it held.
 *
 * @module
 */

const owned = new Map<string, AsyncDisposable>();

/**
 * Opens something in place of what was opened under this name before, which is closed first.
 *
 * @param name one name a thing, such as `"model"`
 * @param open makes the new one; when it throws, the name holds nothing
 *
 * @example
 * ```ts
 * import { own } from "@lib/notebook/own.ts";
 * import { assertEquals } from "@std/assert";
 * const closed: number[] = [];
 * const open = (id: number) => () =>
 *   Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve(void closed.push(id)) });
 * await own("thing", open(1));
 * await own("thing", open(2));
 * assertEquals(closed, [1]);
 * ```
 */
export async function own<T extends AsyncDisposable>(
  name: string,
  open: () => Promise<T>,
): Promise<T> {
  await disown(name);
  const thing = await open();
  owned.set(name, thing);
  return thing;
}

/** Closes what is kept under a name; does nothing when there is none. */
export async function disown(name: string): Promise<void> {
  const thing = owned.get(name);
  owned.delete(name);
  await thing?.[Symbol.asyncDispose]();
}
