import { assertEquals, assertThrows } from "@std/assert";
import type { Sample } from "@lib/chat/sample.ts";
import {
  commonPrefixLength,
  packBatch,
  packingReport,
  planMicroBatches,
} from "@lib/training/packing.ts";

const sample = (id: number, tokens: number[], answerStart: number): Sample => ({
  id,
  tokens: Int32Array.from(tokens),
  answerStart,
});

const A = sample(7, [1, 2, 3, 10, 11, 12], 4);
const B = sample(9, [1, 2, 3, 20, 21], 4);

/** What a batch predicts, as (sample's tokens so far → next token, weight), however it is packed. */
function predictions(samples: readonly Sample[], prefix: number, lossOn: "answer" | "all") {
  const batch = packBatch(samples, prefix, lossOn);
  const contexts: string[] = [];
  batch.targetIds.forEach((id, i) => {
    const row = batch.targetRows[i] ?? -1;
    const weight = batch.targetWeights?.[i] ?? 1;
    const own = batch.cuSeqlens.findLastIndex((begin) => begin <= row);
    const begin = batch.cuSeqlens[Math.max(0, own)] ?? 0;
    const before = row < prefix
      ? [...batch.tokenIds.subarray(0, row + 1)]
      : [...batch.tokenIds.subarray(0, prefix), ...batch.tokenIds.subarray(begin, row + 1)];
    for (let n = 0; n < weight; n++) contexts.push(`${before} → ${id}`);
  });
  return contexts.toSorted();
}

Deno.test("the common prefix never reaches into an answer or empties a sample", () => {
  assertEquals(commonPrefixLength([A, B]), 3);
  assertEquals(commonPrefixLength([A]), 0);
  assertEquals(commonPrefixLength([A, sample(1, [1, 2, 3, 10], 2)]), 2);
  assertEquals(commonPrefixLength([sample(1, [1, 2], 1), sample(2, [1, 2], 1)]), 1);
});

Deno.test("sharing the prefix predicts exactly what not sharing does", () => {
  for (const lossOn of ["answer", "all"] as const) {
    for (const prefix of [1, 2, 3]) {
      assertEquals(predictions([A, B], prefix, lossOn), predictions([A, B], 0, lossOn));
    }
  }
});

Deno.test("an answer right behind the prefix hangs on the prefix's last row", () => {
  const C = sample(1, [1, 2, 30, 31], 2);
  const D = sample(2, [1, 2, 40], 2);
  const batch = packBatch([C, D], 2, "answer");
  assertEquals([...batch.targetRows], [1, 1, 2]);
  assertEquals([...batch.targetIds], [30, 40, 31]);
  assertEquals([...batch.targetSamples], [0, 1, 0]);
  assertEquals(predictions([C, D], 2, "answer"), predictions([C, D], 0, "answer"));
});

Deno.test("layout: prefix once, sequences behind it, keys by sample", () => {
  const batch = packBatch([A, B], 3, "answer");
  assertEquals([...batch.tokenIds], [1, 2, 3, 10, 11, 12, 20, 21]);
  assertEquals([...batch.cuSeqlens], [3, 6, 8]);
  assertEquals([...batch.sequenceKeys], [7, 9]);
  assertEquals(batch.targetWeights, undefined);
  const all = packBatch([A, B], 3, "all");
  assertEquals([...all.targetWeights ?? []].slice(0, 2), [2, 2]);
});

Deno.test("micro-batches keep order and limits; an oversized sample is named", () => {
  const limits = { maxTokens: 8, maxSequences: 2 };
  const cut = planMicroBatches([A, B, A, B, B], 3, limits).map((g) => g.map((s) => s.id));
  assertEquals(cut, [[7, 9], [7, 9], [9]]);
  assertEquals(planMicroBatches([A, B], 3, { maxTokens: 7, maxSequences: 9 }).length, 2);
  assertThrows(
    () => planMicroBatches([A], 0, { maxTokens: 5, maxSequences: 1 }),
    RangeError,
    "Sample 7 has 6 tokens",
  );
});

Deno.test("the report counts padded, unpadded and packed tokens", () => {
  assertEquals(packingReport([A, B], 2, { maxTokens: 100, maxSequences: 9 }, 16), {
    samples: 2,
    prefixTokens: 3,
    padded: 32,
    unpadded: 11,
    packed: 8,
  });
});
