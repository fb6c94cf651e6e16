/**
 * How long training takes: a roofline. Every operation takes as long as its arithmetic or its memory
 * traffic, whichever is longer, each at the share of the machine's rate that such an operation
 * reaches. The shares were measured on one H200 (`native/PERFORMANCE.md`); the same kernels reach
 * similar ones elsewhere.
 */
import type { Architecture } from "@lib/engine/architecture.ts";
import type { BatchSize, KeptLayers, LoraSize } from "@lib/engine/flops.ts";
import type { Machine } from "@lib/engine/machine.ts";
import {
  BF16,
  FP32,
  type Group,
  layerGroups,
  loraParameters,
  NF4,
} from "@lib/training/memory_model.ts";

/** Shares of the measured product and copy rates that operations reach. */
export const EFFICIENCY = {
  /** Large products with the layers' weights and the head, of the product rate at the same clock. */
  product: 0.92,
  /**
   * Attention, of the sustained product rate: by Hopper's matrix instructions as in a training step,
   * and by those that every card since Ampere has, forced on the same H200. A card whose matrix units
   * these fill should do better.
   */
  attention: {
    hopper: { forward: 0.34, backward: 0.29 },
    others: { forward: 0.24, backward: 0.17 },
  },
  /** Of the copy rate: norms, rotation, SwiGLU, the loss, AdamW. */
  elementwise: 0.92,
  /** LoRA's thin products with their dropout. */
  lora: 0.575,
  /** NF4 to bf16. */
  dequantization: 0.68,
} as const;

/** Between one kernel and the next, and waiting for the host, in a layer of a micro-batch; seconds. */
const GAPS = 1.9e-4;

/** Where a step's time goes, seconds. */
export interface StepTime {
  readonly products: number;
  readonly attention: number;
  readonly lora: number;
  readonly elementwise: number;
  readonly dequantization: number;
  readonly head: number;
  readonly gaps: number;
  readonly total: number;
}

/** Adds up the time of operations by kind. */
class Clock {
  readonly times = {
    products: 0,
    attention: 0,
    lora: 0,
    elementwise: 0,
    dequantization: 0,
    head: 0,
    gaps: 0,
  };

  constructor(readonly machine: Machine) {}

  /**
   * A large product: operations, bytes. Tiles that do not fill the card cost some of its rate, but not
   * where power is what is short: a card less busy draws less, and its clock rises.
   */
  product(kind: "products" | "head", flops: number, bytes: number): void {
    const { burstFlops, sustainedFlops, copyBytes } = this.machine;
    const rate = Math.min(sustainedFlops, burstFlops * EFFICIENCY.product);
    this.times[kind] += Math.max(flops / rate, bytes / copyBytes);
  }

  attention(pass: "forward" | "backward", flops: number): void {
    const { hopper, sustainedFlops } = this.machine;
    const share = EFFICIENCY.attention[hopper ? "hopper" : "others"][pass];
    this.times.attention += flops / sustainedFlops / share;
  }

  move(kind: "lora" | "elementwise" | "dequantization" | "head", bytes: number): void {
    const share = EFFICIENCY[kind === "head" ? "elementwise" : kind];
    this.times[kind] += bytes / this.machine.copyBytes / share;
  }

  gap(): void {
    this.times.gaps += GAPS;
  }

  total(): StepTime {
    const total = Object.values(this.times).reduce((x, y) => x + y, 0);
    return { ...this.times, total };
  }
}

/** How a step is laid out on the machine. */
export interface Layout {
  readonly kept: KeptLayers;
  /** All weights stay dequantised. */
  readonly resident: boolean;
}

/** The products of one group, forward (`passes` 1) or again in the backward pass. */
function forwardGroup(clock: Clock, group: Group, rows: number, layout: Layout): void {
  const weights = group.in * group.out;
  if (!layout.resident) clock.move("dequantization", weights * (NF4 + BF16));
  clock.product(
    "products",
    2 * rows * (weights + group.rankOut),
    BF16 * (rows * (group.in + group.out) + weights),
  );
}

/** U = drop(X)·Aᵀ: X is read once, the mask is drawn on the way. */
function projectGroup(clock: Clock, group: Group, rows: number): void {
  if (group.rank > 0) clock.move("lora", BF16 * rows * group.in);
}

function backwardGroup(clock: Clock, group: Group, rows: number, layout: Layout): void {
  const weights = group.in * group.out;
  if (!layout.resident) clock.move("dequantization", weights * (NF4 + BF16));
  clock.product(
    "products",
    2 * rows * (weights + group.rankOut),
    BF16 * (rows * (group.in + group.out) + weights),
  );
  // dB reads dY, dA reads X, dU·A is added to dX.
  if (group.rank > 0) clock.move("lora", BF16 * rows * (group.out + 3 * group.in));
}

/** Norm, rotary embedding, attention, norm, SwiGLU of one layer. */
function betweenForward(clock: Clock, a: Architecture, { tokens, pairs }: BatchSize): void {
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  clock.attention("forward", 4 * q * pairs);
  const columns = 2 * 4 * a.hiddenSize + 2 * (q + kv) + 3 * a.intermediateSize;
  clock.move("elementwise", BF16 * tokens * columns);
}

function betweenBackward(clock: Clock, a: Architecture, { tokens, pairs }: BatchSize): void {
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  clock.attention("backward", 10 * q * pairs);
  const columns = 2 * 4 * a.hiddenSize + 2 * (q + kv) + 5 * a.intermediateSize;
  clock.move("elementwise", BF16 * tokens * columns);
}

function head(clock: Clock, a: Architecture, targets: number, gradient: boolean): void {
  const weights = a.vocabSize * a.hiddenSize;
  const products = gradient ? 2 : 1;
  clock.product("head", products * 2 * targets * weights, products * BF16 * weights);
  clock.move("head", targets * a.vocabSize * (gradient ? 2 * FP32 + 2 * BF16 : 2 * FP32));
}

/** Seconds of forward and backward over one micro-batch. */
export function microBatchTime(
  a: Architecture,
  lora: LoraSize,
  size: BatchSize,
  layout: Layout,
  machine: Machine,
): StepTime {
  const clock = new Clock(machine);
  const groups = layerGroups(a, lora);
  for (let layer = 0; layer < a.numLayers; layer++) {
    const last = layer === a.numLayers - 1;
    const rows = ({ behind }: Group) => last && behind ? size.targets : size.tokens;
    for (const group of groups) {
      projectGroup(clock, group, rows(group));
      forwardGroup(clock, group, rows(group), layout);
      backwardGroup(clock, group, rows(group), layout);
    }
    betweenForward(clock, a, size);
    betweenBackward(clock, a, size);
    clock.gap();
    if (layer >= a.numLayers - layout.kept.whole) continue;
    betweenForward(clock, a, size);
    const again = layer < a.numLayers - layout.kept.products;
    groups.forEach((group, i) => {
      projectGroup(clock, group, rows(group));
      if (again && i < groups.length - 1) forwardGroup(clock, group, rows(group), layout);
    });
  }
  head(clock, a, size.targets, true);
  return clock.total();
}

/** Seconds of one optimiser step on its own. */
export function optimizerTime(
  a: Architecture,
  lora: LoraSize,
  layout: Layout,
  machine: Machine,
): number {
  const clock = new Clock(machine);
  // Parameters and two moments read and written, gradients read, read again and cleared.
  const copies = layout.resident ? 2 * BF16 : BF16;
  clock.move("elementwise", loraParameters(a, lora) * (9 * FP32 + copies));
  return clock.total().total;
}

/** Seconds of a forward pass over one micro-batch, with its loss. */
export function evaluationTime(
  a: Architecture,
  lora: LoraSize,
  size: BatchSize,
  layout: Layout,
  machine: Machine,
): number {
  const clock = new Clock(machine);
  for (let layer = 0; layer < a.numLayers; layer++) {
    for (const group of layerGroups(a, lora)) {
      const rows = layer === a.numLayers - 1 && group.behind ? size.targets : size.tokens;
      projectGroup(clock, group, rows);
      forwardGroup(clock, group, rows, layout);
    }
    betweenForward(clock, a, size);
  }
  head(clock, a, size.targets, false);
  return clock.total().total;
}
