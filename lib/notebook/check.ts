/**
 * The checks of the course: they say how far apart two values are, and throw when that is too far.
 *
 * @module
 */

/** Two values that should agree and do not. */
export class CheckError extends Error {
  override readonly name = "CheckError";
}

/** Options of {@linkcode check}. */
export interface CheckOptions {
  /** Largest absolute difference of two numbers that still counts as equal. @default {0} */
  readonly tolerance?: number;
}

/** What a check found. */
export interface CheckOutcome {
  readonly name: string;
  readonly ok: boolean;
  /** One line for the reader: how far apart, or what was expected and what was found. */
  readonly text: string;
}

let listener: ((outcome: CheckOutcome) => void) | undefined;

/**
 * Has the outcomes of checks told to a function instead of printed and thrown, as grading needs
 * them; `undefined` ends it.
 */
export function listenToChecks(hear: ((outcome: CheckOutcome) => void) | undefined): void {
  listener = hear;
}

function tell(outcome: CheckOutcome): void {
  if (listener) return listener(outcome);
  if (!outcome.ok) throw new CheckError(`✗ ${outcome.text}`);
  console.log(`✓ ${outcome.text}`);
}

/** What comparing found: the first place that differs, and the largest difference of numbers. */
interface Comparison {
  numbers: number;
  largest: number;
  difference: string | undefined;
}

/** Longest piece of a value in a message, in characters. */
const LONGEST = 120;

function brief(value: unknown): string {
  const text = typeof value === "string"
    ? JSON.stringify(value)
    : Deno.inspect(value, { depth: 2, colors: false, breakLength: Infinity });
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}…`;
}

/** The characters of two texts from their first difference on, by number: some look the same. */
function codePoints(text: string, from: number): string {
  const points = [...text].slice(from, from + 4);
  const names = points.map((point) =>
    `U+${(point.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`
  );
  return names.length === 0 ? "the end" : names.join(" ");
}

function compareTexts(got: string, want: string): string {
  const [a, b] = [[...got], [...want]];
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return `expected ${brief(want)}, found ${brief(got)}; they part at character ${at + 1}: ` +
    `expected ${codePoints(want, at)}, found ${codePoints(got, at)}`;
}

/** Lists, typed arrays, sets and maps as plain lists; `undefined` for everything else. */
function asList(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value;
  if (value instanceof Set || value instanceof Map) return [...value];
  if (ArrayBuffer.isView(value) && Symbol.iterator in value) {
    return Array.from(value as unknown as Iterable<unknown>);
  }
  return undefined;
}

function asEntries(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined));
}

function compareLists(
  got: readonly unknown[],
  want: readonly unknown[],
  path: string,
  tolerance: number,
  result: Comparison,
): void {
  if (got.length !== want.length) {
    result.difference ??= `${path}expected ${want.length} values, found ${got.length}`;
    return;
  }
  want.forEach((item, at) => compare(got[at], item, `${path}[${at}]: `, tolerance, result));
}

function compare(
  got: unknown,
  want: unknown,
  path: string,
  tolerance: number,
  result: Comparison,
): void {
  if (typeof want === "number" && typeof got === "number") {
    const difference = Object.is(got, want) ? 0 : Math.abs(got - want);
    result.numbers++;
    result.largest = Math.max(result.largest, difference);
    if (!(difference <= tolerance)) {
      result.difference ??= `${path}expected ${want}, found ${got}, difference ${difference}`;
    }
    return;
  }
  if (typeof want === "string" && typeof got === "string") {
    if (got !== want) result.difference ??= path + compareTexts(got, want);
    return;
  }
  const [gotList, wantList] = [asList(got), asList(want)];
  if (gotList && wantList) return compareLists(gotList, wantList, path, tolerance, result);
  const [gotEntries, wantEntries] = [asEntries(got), asEntries(want)];
  if (gotEntries && wantEntries && !gotList && !wantList) {
    for (const key of new Set([...Object.keys(wantEntries), ...Object.keys(gotEntries)])) {
      compare(gotEntries[key], wantEntries[key], `${path}${key}: `, tolerance, result);
    }
    return;
  }
  if (!Object.is(got, want)) {
    result.difference ??= `${path}expected ${brief(want)}, found ${brief(got)}`;
  }
}

/**
 * Compares what a cell got with what it should be, in depth, and prints one line.
 *
 * @throws {CheckError} where they differ: the first place, both values, the difference
 * @example
 * ```ts
 * import { check } from "@lib/notebook/check.ts";
 * import { assertThrows } from "@std/assert";
 *
 * check("a third", [1 / 3], [0.3333], { tolerance: 1e-4 });
 * assertThrows(() => check("letters", "অা", "আ"), Error, "U+0986");
 * ```
 */
export function check(
  name: string,
  got: unknown,
  want: unknown,
  options: CheckOptions = {},
): void {
  const { tolerance = 0 } = options;
  const result: Comparison = { numbers: 0, largest: 0, difference: undefined };
  compare(got, want, "", tolerance, result);
  if (result.difference !== undefined) {
    return tell({ name, ok: false, text: `${name}: ${result.difference}` });
  }
  const allowed = tolerance === 0 ? "" : ` (allowed ${tolerance})`;
  const how = result.largest === 0 ? "equal" : `max difference ${result.largest.toPrecision(3)}`;
  tell({ name, ok: true, text: `${name}: ${how}${allowed}` });
}

/**
 * Checks a statement and prints one line.
 *
 * @throws {CheckError} where it does not hold
 */
export function checkThat(statement: string, holds: boolean): void {
  const text = holds ? statement : `expected that ${statement}; it does not hold`;
  tell({ name: statement, ok: holds, text });
}
