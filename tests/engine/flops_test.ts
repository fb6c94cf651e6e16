import { assertAlmostEquals, assertEquals } from "@std/assert";
import { LLAMA_8B, LLAMA_SMALL } from "@lib/bench/shapes.ts";
import { LORA_MODULES } from "@lib/config.ts";
import { countParameters, trainingFlopsPerToken } from "@lib/engine/architecture.ts";
import { attendedPairs, batchSize, trainingFlops } from "@lib/engine/flops.ts";

const all = (layers: number) => ({ products: layers, whole: layers });
const lora = { r: 16, targetModules: LORA_MODULES };

Deno.test("the 8B costs 30 GFLOP a token; recompute, which leaves the down product out, adds 10", () => {
  const size = { tokens: 1000, targets: 1000, pairs: 0 };
  for (const [kept, gigaflops] of [[32, 30], [0, 40]] as const) {
    const { base, head } = trainingFlops(LLAMA_8B, lora, size, all(kept));
    assertAlmostEquals((base + head) / 1000 / 1e9, gigaflops, 0.4);
  }
});

Deno.test("base products are the parameters' count, less what is not needed", () => {
  const size = { tokens: 10, targets: 10, pairs: 0 };
  const a = LLAMA_SMALL;
  const { base, head } = trainingFlops(a, lora, size, all(a.numLayers));
  const norms = (2 * a.numLayers + 1) * a.hiddenSize;
  const firstInput = a.hiddenSize * a.headDim * (a.numHeads + 2 * a.numKvHeads);
  const every = 10 * (trainingFlopsPerToken(a, false) - 4 * norms);
  assertEquals(base + head, every - 2 * 10 * firstInput);
});

Deno.test("LoRA's products are six a linear, over the trained parameters", () => {
  const size = { tokens: 7, targets: 7, pairs: 0 };
  const a = LLAMA_8B;
  const trained = 41943040; // rank 16 on all linears
  const { lora: flops } = trainingFlops(a, lora, size, all(a.numLayers));
  const firstInput = 3 * 16 * a.hiddenSize;
  assertEquals(flops, 2 * 7 * (3 * trained - firstInput));
  const attention = { r: 16, targetModules: ["q_proj", "k_proj", "v_proj", "o_proj"] as const };
  const less = trainingFlops(a, attention, size, all(a.numLayers)).lora;
  assertEquals(less, 2 * 7 * (3 * 13631488 - firstInput));
});

Deno.test("the last layer computes target rows behind attention", () => {
  const a = { ...LLAMA_SMALL, numLayers: 1 };
  const few = trainingFlops(a, lora, { tokens: 100, targets: 10, pairs: 0 }, all(1));
  const behind = a.headDim * a.numHeads * a.hiddenSize + 3 * a.hiddenSize * a.intermediateSize;
  const input = a.hiddenSize * a.headDim * (a.numHeads + 2 * a.numKvHeads);
  assertEquals(few.base, 2 * (100 * input + 10 * 2 * behind));
});

Deno.test("pairs are those of the mask, counted one by one", () => {
  const [prefix, lengths] = [5, [3, 0, 4]] as const;
  let pairs = 0;
  for (let i = 0; i < prefix; i++) pairs += i + 1;
  for (const n of lengths) for (let i = 0; i < n; i++) pairs += prefix + i + 1;
  assertEquals(attendedPairs(prefix, lengths), pairs);
  const size = batchSize({
    tokenIds: new Int32Array(12),
    prefixLength: 5,
    cuSeqlens: Int32Array.of(5, 8, 8, 12),
    sequenceKeys: Int32Array.of(0, 1, 2),
    targetRows: Int32Array.of(6, 7),
    targetIds: Int32Array.of(1, 2),
  });
  assertEquals(size, { tokens: 12, targets: 2, pairs });
});

Deno.test("attention at 512 tokens adds about one per cent", () => {
  const pairs = attendedPairs(0, [512]);
  const { attention, total } = trainingFlops(
    LLAMA_8B,
    lora,
    { tokens: 512, targets: 512, pairs },
    all(32),
  );
  assertAlmostEquals(attention / total, 0.015, 0.005);
});

Deno.test("the 8B shape has the 8B's parameters", () => {
  assertEquals(countParameters(LLAMA_8B), 8030261248);
});

Deno.test("layers that keep their products recompute attention and U alone", () => {
  const size = { tokens: 100, targets: 60, pairs: 1000 };
  const [whole, products] = [8, 3].map((kept) =>
    trainingFlops({ ...LLAMA_SMALL, numLayers: 8 }, lora, size, { products: 8, whole: kept })
  );
  const { hiddenSize: h, intermediateSize: f, numHeads, headDim } = LLAMA_SMALL;
  assertEquals(products?.base, whole?.base);
  assertEquals((products?.attention ?? 0) - (whole?.attention ?? 0), 5 * 4 * h * 1000);
  assertEquals(
    (products?.lora ?? 0) - (whole?.lora ?? 0),
    5 * 2 * 100 * 16 * (5 * h + numHeads * headDim + f),
  );
});
