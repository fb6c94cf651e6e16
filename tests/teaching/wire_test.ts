import { assertEquals, assertThrows } from "@std/assert";
import { type AnyFunction, decode, encode, WireError } from "@lib/teaching/wire.ts";

const there = (value: unknown) => decode(JSON.parse(JSON.stringify(encode(value))));

Deno.test("values travel as they are, bit for bit", () => {
  const values = [
    [NaN, -0, Infinity, -Infinity, 0.1 + 0.2, 2n ** 70n],
    ["পাশে আছি।", "", null, undefined, true],
    { a: { b: [1, [2]] }, "$": "n", v: 3, ["__proto__"]: { polluted: 1 } },
    new Map<unknown, unknown>([["k", new Set([1, NaN])], [2, { deep: [undefined] }]]),
    Float32Array.of(0.1, NaN, -0),
    new BigUint64Array([1n, 2n ** 63n]),
    new Uint8Array(300).fill(7).subarray(3, 290),
    new Date(0),
  ];
  for (const value of values) assertEquals(there(value), value);
  assertEquals(Object.is(there(-0), -0), true);
  const error = there(new RangeError("too far"));
  assertEquals(error instanceof Error && [error.name, error.message], ["RangeError", "too far"]);
  assertEquals(Reflect.get({}, "polluted"), undefined);
});

Deno.test("functions travel by number", () => {
  const functions: AnyFunction[] = [];
  const json = encode({ twice: (x: unknown) => 2 * Number(x) }, (f) => functions.push(f) - 1);
  const back = decode(json, (id) => (...args) => functions[id]?.(...args));
  assertEquals(Reflect.get(Object(back), "twice")(21), 42);
});

Deno.test("what cannot travel is refused by its name", () => {
  const loop: unknown[] = [];
  loop.push(loop);
  class Model {}
  for (
    const [value, name] of [
      [new Model(), "class Model"],
      [Symbol("s"), "a symbol"],
      [loop, "holding itself"],
      [new DataView(new ArrayBuffer(1)), "DataView"],
      [() => 1, "a function"],
    ] as const
  ) assertThrows(() => encode(value), WireError, name);
});

Deno.test("a hostile message is refused, never run", () => {
  for (
    const json of [
      { "$": "constructor", v: 1 },
      { "$": "typed", v: ["Function", ""] },
      { "$": "typed", v: ["__proto__", ""] },
      { "$": "map", v: [1] },
      { "$": "set", v: "x" },
      { a: 1 },
    ]
  ) assertThrows(() => decode(json), WireError);
});
