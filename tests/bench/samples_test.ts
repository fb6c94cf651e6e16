import { assert, assertAlmostEquals, assertEquals, assertNotEquals } from "@std/assert";
import { drawSamples, FULL_SHAPE, SEED_SHAPE } from "@lib/bench/samples.ts";
import { commonPrefixLength } from "@lib/training/packing.ts";

Deno.test("samples have the original data's lengths and share its prefix", () => {
  const samples = drawSamples(4000, 128256);
  const own = samples.map((s) => s.tokens.length - SEED_SHAPE.prefix);
  const mean = own.reduce((a, b) => a + b, 0) / own.length;
  const spread = Math.sqrt(own.reduce((sum, n) => sum + (n - mean) ** 2, 0) / own.length);
  assertAlmostEquals(mean, 170, 3);
  assertAlmostEquals(spread, 59, 3); // clipping takes a little
  assert(Math.min(...own) >= 40 && Math.max(...own) <= 350);
  assertEquals(commonPrefixLength(samples), 336);
  const answers = samples.reduce((sum, s) => sum + s.tokens.length - s.answerStart, 0);
  assertAlmostEquals(answers / samples.length / mean, 0.6, 0.01);
});

Deno.test("a seed decides the samples, not the prefix", () => {
  const [first, again, other] = [1, 1, 2].map((seed) => drawSamples(3, 1000, SEED_SHAPE, seed));
  assertEquals(first, again);
  assertNotEquals(first, other);
  assertEquals(first?.[0]?.tokens.subarray(0, 336), other?.[0]?.tokens.subarray(0, 336));
});

Deno.test("full samples have 512 tokens and nothing in common", () => {
  const samples = drawSamples(5, 128256, FULL_SHAPE);
  assertEquals(samples.map((s) => s.tokens.length), [512, 512, 512, 512, 512]);
  assert(commonPrefixLength(samples) < 3);
});
