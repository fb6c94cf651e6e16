import { assertEquals, assertThrows } from "@std/assert";
import { checkedNumber, defineStruct, readStruct, writeStruct } from "@lib/engine/struct.ts";

const MIXED = defineStruct("mixed", { a: "i32", b: "i64", c: "f32", d: "f64", e: "ptr", f: "i32" });

Deno.test("layout follows natural alignment with trailing padding", () => {
  assertEquals(MIXED.offsets, { a: 0, b: 8, c: 16, d: 24, e: 32, f: 40 });
  assertEquals(MIXED.size, 48);
});

Deno.test("what is written is read back, other fields untouched", () => {
  const bytes = new Uint8Array(MIXED.size);
  writeStruct(MIXED, bytes, { a: -5, b: 2 ** 40, c: 0.5, d: Math.PI, e: 123n, f: 7 });
  writeStruct(MIXED, bytes, { a: 6 });
  assertEquals(readStruct(MIXED, bytes), {
    a: 6,
    b: 2 ** 40,
    c: 0.5,
    d: Math.PI,
    e: 123n,
    f: 7,
  });
});

Deno.test("values that the C type cannot hold are refused by name", () => {
  const bytes = new Uint8Array(MIXED.size);
  assertThrows(() => writeStruct(MIXED, bytes, { a: 1.5 }), RangeError, "mixed.a");
  assertThrows(() => writeStruct(MIXED, bytes, { a: 2 ** 31 }), RangeError, "mixed.a");
  assertThrows(() => writeStruct(MIXED, bytes, { a: NaN }), RangeError, "mixed.a");
  assertThrows(() => writeStruct(MIXED, bytes, { e: -1n }), RangeError, "mixed.e");
  assertThrows(() => checkedNumber(2n ** 60n, "count"), RangeError, "count");
});
