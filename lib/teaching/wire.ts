/**
 * Values as JSON between two processes: what `structuredClone` keeps, and functions by reference.
 *
 * Plain JSON would lose `NaN`, `undefined`, typed arrays, sets and maps. Functions travel as a
 * number, which the receiver turns into a function that calls back.
 *
 * @module
 */

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json;
};

/** A function of the other side, or of ours. */
export type AnyFunction = (...args: readonly unknown[]) => unknown;

/** A value that cannot travel. */
export class WireError extends Error {
  override readonly name = "WireError";
}

const TYPED_ARRAYS = {
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
} as const;
type TypedArrayName = keyof typeof TYPED_ARRAYS;

/** Deepest nesting that travels: a value that holds itself ends here too. */
const DEEPEST = 200;

function refuse(what: string): never {
  throw new WireError(
    `A solution is run in a process of its own, and ${what} cannot be handed to it or back: ` +
      `expected numbers, texts, lists, plain objects, sets, maps, typed arrays or functions.`,
  );
}

const tagged = (tag: string, value: Json): Json => ({ $: tag, v: value });

function encodeNumber(value: number): Json {
  return Number.isFinite(value) && !Object.is(value, -0)
    ? value
    : tagged("n", Object.is(value, -0) ? "-0" : String(value));
}

function encodeObject(
  value: object,
  toId: (value: AnyFunction) => number,
  depth: number,
): Json {
  if (depth > DEEPEST) refuse(`a value nested more than ${DEEPEST} deep (or holding itself)`);
  const inner = (item: unknown) => encode(item, toId, depth + 1);
  if (Array.isArray(value)) return Array.from(value, inner);
  if (value instanceof Set) return tagged("set", Array.from(value, inner));
  if (value instanceof Map) {
    return tagged("map", Array.from(value, ([key, item]) => [inner(key), inner(item)]));
  }
  if (value instanceof Date) return tagged("date", value.getTime());
  if (value instanceof Error) {
    return tagged("error", [String(value.name), String(value.message)]);
  }
  if (ArrayBuffer.isView(value)) {
    const name = value.constructor.name;
    if (!Object.hasOwn(TYPED_ARRAYS, name)) refuse(`a ${name}`);
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return tagged("typed", [name, bytes.toBase64()]);
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    refuse(`an object of class ${value.constructor.name}`);
  }
  return tagged(
    "object",
    Object.entries(value).map(([key, item]) => [key, inner(item)]),
  );
}

/**
 * Makes JSON of a value.
 *
 * @param toId gives a function its number
 * @throws {WireError} naming what cannot travel
 */
export function encode(
  value: unknown,
  toId: (value: AnyFunction) => number = () => refuse("a function"),
  depth = 0,
): Json {
  switch (typeof value) {
    case "number":
      return encodeNumber(value);
    case "string":
    case "boolean":
      return value;
    case "undefined":
      return tagged("undefined", null);
    case "bigint":
      return tagged("bigint", String(value));
    case "function":
      return tagged("function", toId(value as AnyFunction));
    case "symbol":
      return refuse("a symbol");
    case "object":
      return value === null ? null : encodeObject(value, toId, depth);
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const list = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? value : refuse("a message that is torn");

function pairs(value: unknown): readonly (readonly [unknown, unknown])[] {
  return list(value).map((pair) => {
    const [key, item] = list(pair);
    return [key, item] as const;
  });
}

function decodeTyped(value: unknown): ArrayBufferView {
  const [name, text] = list(value);
  if (typeof name !== "string" || !Object.hasOwn(TYPED_ARRAYS, name)) refuse("such an array");
  const { buffer } = Uint8Array.fromBase64(String(text));
  return new TYPED_ARRAYS[name as TypedArrayName](buffer);
}

function decodeError(value: unknown): Error {
  const [name, message] = list(value).map(String);
  const error = new Error(message);
  error.name = name ?? "Error";
  return error;
}

/**
 * Makes the value again. The JSON may come from a hostile process: the result is plain data and
 * functions of `fromId`, nothing else.
 *
 * @param fromId makes a function of its number
 * @throws {WireError} where the JSON is not what {@linkcode encode} writes
 */
export function decode(
  json: unknown,
  fromId: (id: number) => AnyFunction = () => refuse("a function"),
): unknown {
  if (Array.isArray(json)) return json.map((item) => decode(item, fromId));
  if (!isRecord(json)) return json;
  const { $: tag, v } = json;
  const inner = (item: unknown) => decode(item, fromId);
  switch (tag) {
    case "n":
      return Number(v);
    case "undefined":
      return undefined;
    case "bigint":
      return BigInt(String(v));
    case "function":
      return fromId(Number(v));
    case "date":
      return new Date(Number(v));
    case "error":
      return decodeError(v);
    case "set":
      return new Set(list(v).map(inner));
    case "map":
      return new Map(pairs(v).map(([key, item]) => [inner(key), inner(item)]));
    case "typed":
      return decodeTyped(v);
    case "object":
      return Object.fromEntries(pairs(v).map(([key, item]) => [String(key), inner(item)]));
    default:
      return refuse("a message of an unknown kind");
  }
}
