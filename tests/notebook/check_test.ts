import { assertEquals, assertThrows } from "@std/assert";
import { check, CheckError, checkThat, listenToChecks } from "@lib/notebook/check.ts";

/** Lines that a function prints. */
function printed(body: () => void): string[] {
  const lines: string[] = [];
  const log = console.log;
  console.log = (line: string) => void lines.push(line);
  try {
    body();
  } finally {
    console.log = log;
  }
  return lines;
}

Deno.test("equal values print one line, with the largest difference of numbers", () => {
  const lines = printed(() => {
    check("same", { a: [1, "ক"], b: undefined }, { a: [1, "ক"] });
    check("near", Float32Array.of(1, 2.5), [1, 2], { tolerance: 0.5 });
    check("sets", new Set([1]), new Set([1]));
    check("not a number", NaN, NaN);
    checkThat("order is kept", true);
  });
  assertEquals(lines, [
    "✓ same: equal",
    "✓ near: max difference 0.500 (allowed 0.5)",
    "✓ sets: equal",
    "✓ not a number: equal",
    "✓ order is kept",
  ]);
});

Deno.test("different values throw with the place and both values", () => {
  const cases: readonly (readonly [unknown, unknown, string])[] = [
    [1.5, 1, "expected 1, found 1.5, difference 0.5"],
    [NaN, 1, "found NaN"],
    [[1, 2], [1], "expected 1 values, found 2"],
    [{ a: { b: 2 } }, { a: { b: 3 } }, "a: b: expected 3, found 2"],
    [{ a: 1, b: 2 }, { a: 1 }, "b: expected undefined, found 2"],
    [undefined, [1], "found undefined"],
    [[], {}, "expected {}, found []"],
    ["1", 1, 'expected 1, found "1"'],
    [
      "ভাল\u09cb",
      "ভাল\u09c7\u09be",
      "they part at character 4: expected U+09C7 U+09BE, found U+09CB",
    ],
    ["ক", "কা", "expected U+09BE, found the end"],
  ];
  for (const [got, want, text] of cases) {
    assertThrows(() => check("it", got, want), CheckError, text);
  }
  assertThrows(() => checkThat("one is two", false), CheckError, "one is two");
});

Deno.test("a listener is told outcomes; nothing is printed or thrown meanwhile", () => {
  const heard: [string, boolean, string][] = [];
  listenToChecks(({ name, ok, text }) => void heard.push([name, ok, text]));
  try {
    const lines = printed(() => {
      check("two", 2, 2);
      check("three", 3, 4);
      checkThat("the sky is green", false);
    });
    assertEquals(lines, []);
  } finally {
    listenToChecks(undefined);
  }
  assertEquals(heard, [
    ["two", true, "two: equal"],
    ["three", false, "three: expected 4, found 3, difference 1"],
    ["the sky is green", false, "expected that the sky is green; it does not hold"],
  ]);
  assertThrows(() => checkThat("it is", false), CheckError);
});
