/**
 * Floating-point operations of training, product by product.
 *
 * A multiply-add is two. Counted: the base products forward and for the gradient of their input,
 * LoRA's products (U = X·Aᵀ, U·Bᵀ; dU, dB, dA, dU·A), attention's as a causal mask leaves them (two
 * products forward, five backward), the head at the target rows, and what is recomputed. The last
 * layer's products behind attention see the target rows only; the first layer's q, k, v need no
 * gradient of their input. Not counted: dequantisation, norms, rotary embedding, softmax, SwiGLU,
 * dropout, AdamW. `native/bench/train_bench.cpp` counts the same.
 */
import type { Architecture } from "@lib/engine/architecture.ts";
import type { Batch } from "@lib/engine/batch.ts";
import type { LoraModule } from "@lib/engine/model.ts";

/** What decides how much a micro-batch computes. */
export interface BatchSize {
  /** Tokens that pass through the layers, the shared prefix once. */
  readonly tokens: number;
  /** Tokens predicted. */
  readonly targets: number;
  /** (query, key) pairs that the causal mask leaves. */
  readonly pairs: number;
}

/** The adapter, as far as it costs. */
export interface LoraSize {
  readonly r: number;
  readonly targetModules: readonly LoraModule[];
}

/** One linear of a layer. */
export interface Linear {
  readonly module: LoraModule;
  readonly in: number;
  readonly out: number;
  /** Whether it comes behind attention, where the last layer computes target rows only. */
  readonly behind: boolean;
}

/** The seven linears of a layer. */
export function layerLinears(a: Architecture): readonly Linear[] {
  const [h, f] = [a.hiddenSize, a.intermediateSize];
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  return [
    { module: "q_proj", in: h, out: q, behind: false },
    { module: "k_proj", in: h, out: kv, behind: false },
    { module: "v_proj", in: h, out: kv, behind: false },
    { module: "o_proj", in: q, out: h, behind: true },
    { module: "gate_proj", in: h, out: f, behind: true },
    { module: "up_proj", in: h, out: f, behind: true },
    { module: "down_proj", in: f, out: h, behind: true },
  ];
}

/**
 * Pairs (query, key) of a prefix shared by sequences of the given lengths.
 *
 * @example
 * ```ts
 * import { attendedPairs } from "@lib/engine/flops.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(attendedPairs(2, [1, 2]), 3 + (2 + 1) + (4 + 3));
 * ```
 */
export function attendedPairs(prefix: number, lengths: readonly number[]): number {
  return lengths.reduce((sum, n) => sum + n * prefix + n * (n + 1) / 2, prefix * (prefix + 1) / 2);
}

/** The size of a packed micro-batch. */
export function batchSize({ tokenIds, targetIds, prefixLength, cuSeqlens }: Batch): BatchSize {
  const lengths = Array.from(
    { length: cuSeqlens.length - 1 },
    (_, s) => (cuSeqlens[s + 1] ?? 0) - (cuSeqlens[s] ?? 0),
  );
  return {
    tokens: tokenIds.length,
    targets: targetIds.length,
    pairs: attendedPairs(prefixLength, lengths),
  };
}

/** Operations by what computes them. */
export interface TrainingFlops {
  /** Products with the frozen layers' weights. */
  readonly base: number;
  readonly lora: number;
  readonly attention: number;
  readonly head: number;
  readonly total: number;
}

/** What survives from the forward pass to the backward pass; always of the last layers. */
export interface KeptLayers {
  /** Layers whose products are kept. */
  readonly products: number;
  /** Of those, layers that keep everything; in the others attention and U are computed again. */
  readonly whole: number;
}

/** Operations of forward and backward over one micro-batch. */
export function trainingFlops(
  a: Architecture,
  lora: LoraSize,
  { tokens, targets, pairs }: BatchSize,
  kept: KeptLayers,
): TrainingFlops {
  const sum = { base: 0, lora: 0, attention: 0 };
  const attention = 2 * a.numHeads * a.headDim * pairs;
  for (let layer = 0; layer < a.numLayers; layer++) {
    const again = {
      products: layer < a.numLayers - kept.products,
      between: layer < a.numLayers - kept.whole,
    };
    sum.attention += attention * (2 + 5 + (again.between ? 2 : 0));
    for (const linear of layerLinears(a)) {
      const rows = layer === a.numLayers - 1 && linear.behind ? targets : tokens;
      const { base, lora: added } = linearProducts(linear, lora, layer > 0, again);
      sum.base += 2 * rows * base;
      sum.lora += 2 * rows * added;
    }
  }
  const head = 2 * 2 * targets * a.hiddenSize * a.vocabSize;
  return { ...sum, head, total: sum.base + sum.lora + sum.attention + head };
}

/** Multiply-adds a row of one linear. */
function linearProducts(
  linear: Linear,
  lora: LoraSize,
  lower: boolean,
  again: { readonly products: boolean; readonly between: boolean },
): { base: number; lora: number } {
  const weights = linear.in * linear.out;
  const rank = lora.targetModules.includes(linear.module) ? lora.r : 0;
  const [a, b] = [rank * linear.in, rank * linear.out];
  const gradient = lower || linear.behind;
  const product = again.products && linear.module !== "down_proj";
  return {
    base: weights * (1 + (gradient ? 1 : 0) + (product ? 1 : 0)),
    lora: a + b + 2 * b + a + (gradient ? a : 0) + (again.between ? a : 0) + (product ? b : 0),
  };
}
