/**
 * How long a training run takes on a machine that is not here, and whether it fits: a roofline.
 *
 * Every operation takes as long as its arithmetic or its memory traffic, whichever is longer, each at
 * the share of the machine's rate that such an operation reaches. The shares were measured on one
 * H200 (`native/PERFORMANCE.md`); the same kernels reach similar ones elsewhere.
 */
import type { Architecture } from "@lib/engine/architecture.ts";
import {
  attendedPairs,
  type BatchSize,
  type KeptLayers,
  layerLinears,
  type LoraSize,
} from "@lib/engine/flops.ts";
import type { Machine } from "@lib/engine/machine.ts";

/** Shares of the measured product and copy rates that operations reach. */
export const EFFICIENCY = {
  /** Large products with the layers' weights and the head. */
  product: 0.92,
  /** Attention, of the product rate. */
  attention: 0.23,
  /** Whatever moves memory: norms, dropout, SwiGLU, dequantisation, AdamW, LoRA's thin products. */
  copy: 0.7,
} as const;

/** A run as far as it costs. Lengths in tokens; means, but for `longest`. */
export interface RunShape {
  readonly samples: number;
  /** Samples an optimiser step. */
  readonly batchSize: number;
  /** Shared by all samples; 0: nothing. */
  readonly prefix: number;
  /** A sample without the prefix. */
  readonly own: number;
  /** Of it, predicted. */
  readonly answer: number;
  /** The longest sample, prefix included. */
  readonly longest: number;
  /** Samples measured once. */
  readonly validation: number;
}

/** The original project's run: one epoch over 12,750 samples. */
export const SEED_RUN: RunShape = {
  samples: 12750,
  batchSize: 32,
  prefix: 336,
  own: 170,
  answer: 102,
  longest: 686,
  validation: 1500,
};

/** Where a step's time goes, seconds. */
export interface StepTime {
  readonly products: number;
  readonly attention: number;
  readonly lora: number;
  readonly elementwise: number;
  readonly dequantization: number;
  readonly head: number;
  readonly total: number;
}

/** A linear group as it is computed: q, k, v and gate, up are one product each. */
interface Group {
  readonly in: number;
  readonly out: number;
  /** Ranks of its linears, and the sum of rank · out. */
  readonly rank: number;
  readonly rankOut: number;
  readonly behind: boolean;
}

const BF16 = 2;
const FP32 = 4;
/** NF4 codes and double-quantised scales, bytes a weight. */
const NF4 = 0.5 + 1 / 64 + FP32 / (64 * 256);

function layerGroups(a: Architecture, lora: LoraSize): readonly Group[] {
  const linears = layerLinears(a);
  const groups = [linears.slice(0, 3), linears.slice(3, 4), linears.slice(4, 6), linears.slice(6)];
  return groups.map((parts) => {
    const ranks = parts.map(({ module }) => lora.targetModules.includes(module) ? lora.r : 0);
    return {
      in: parts[0]?.in ?? 0,
      out: parts.reduce((n, part) => n + part.out, 0),
      rank: ranks.reduce((x, y) => x + y, 0),
      rankOut: parts.reduce((n, part, i) => n + part.out * (ranks[i] ?? 0), 0),
      behind: parts[0]?.behind ?? false,
    };
  });
}

/** Adapter parameters. */
function loraParameters(a: Architecture, lora: LoraSize): number {
  return a.numLayers *
    layerGroups(a, lora).reduce((n, group) => n + group.rank * group.in + group.rankOut, 0);
}

/** Weights of the seven linears of all layers. */
function layerWeights(a: Architecture): number {
  return a.numLayers * layerLinears(a).reduce((n, { in: x, out }) => n + x * out, 0);
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
  };

  constructor(readonly machine: Machine) {}

  /** A large product: operations, bytes. */
  product(kind: "products" | "head", flops: number, bytes: number): void {
    const { productFlops, copyBytes } = this.machine;
    this.times[kind] += Math.max(flops / productFlops, bytes / copyBytes) / EFFICIENCY.product;
  }

  attention(flops: number): void {
    this.times.attention += flops / this.machine.productFlops / EFFICIENCY.attention;
  }

  move(kind: "lora" | "elementwise" | "dequantization" | "head", bytes: number): void {
    this.times[kind] += bytes / this.machine.copyBytes / EFFICIENCY.copy;
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
  readonly dropout: boolean;
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

/** U = drop(X)·Aᵀ. */
function projectGroup(clock: Clock, group: Group, rows: number, { dropout }: Layout): void {
  if (group.rank === 0) return;
  clock.move("lora", BF16 * rows * group.in * (dropout ? 3 : 1));
}

function backwardGroup(clock: Clock, group: Group, rows: number, layout: Layout): void {
  const weights = group.in * group.out;
  if (!layout.resident) clock.move("dequantization", weights * (NF4 + BF16));
  clock.product(
    "products",
    2 * rows * (weights + group.rankOut),
    BF16 * (rows * (group.in + group.out) + weights),
  );
  if (group.rank === 0) return;
  // dB reads dY; dA reads drop(X), made again; dU·A is added to dX.
  clock.move("lora", BF16 * rows * (group.out + group.in * (layout.dropout ? 6 : 3)));
}

/** Norm, rotary embedding, attention, norm, SwiGLU of one layer. */
function betweenForward(clock: Clock, a: Architecture, { tokens, pairs }: BatchSize): void {
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  clock.attention(4 * q * pairs);
  const columns = 2 * 4 * a.hiddenSize + 2 * (q + kv) + 3 * a.intermediateSize;
  clock.move("elementwise", BF16 * tokens * columns);
}

function betweenBackward(clock: Clock, a: Architecture, { tokens, pairs }: BatchSize): void {
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  clock.attention(10 * q * pairs);
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
      projectGroup(clock, group, rows(group), layout);
      forwardGroup(clock, group, rows(group), layout);
      backwardGroup(clock, group, rows(group), layout);
    }
    betweenForward(clock, a, size);
    betweenBackward(clock, a, size);
    if (layer >= a.numLayers - layout.kept.whole) continue;
    betweenForward(clock, a, size);
    const again = layer < a.numLayers - layout.kept.products;
    groups.forEach((group, i) => {
      projectGroup(clock, group, rows(group), layout);
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

function evaluationTime(
  a: Architecture,
  lora: LoraSize,
  size: BatchSize,
  layout: Layout,
  machine: Machine,
): number {
  const clock = new Clock(machine);
  const dry = { ...layout, dropout: false };
  for (let layer = 0; layer < a.numLayers; layer++) {
    for (const group of layerGroups(a, lora)) {
      const rows = layer === a.numLayers - 1 && group.behind ? size.targets : size.tokens;
      projectGroup(clock, group, rows, dry);
      forwardGroup(clock, group, rows, dry);
    }
    betweenForward(clock, a, size);
  }
  head(clock, a, size.targets, false);
  return clock.total().total;
}

/** Capacity of a trainer, and what it keeps. */
export interface TrainingMemory {
  readonly tokens: number;
  readonly targets: number;
  readonly kept: KeptLayers;
  readonly resident: boolean;
  readonly embeddingsOnHost: boolean;
  /** Bytes of an activation. @default {2} */
  readonly activationBytes?: number;
}

/** Logits that exist at a time, and the CUDA context with its libraries. */
const LOSS_BYTES = 0.2e9;
export const CONTEXT_BYTES = 0.5e9;

/** Device bytes of training without the context, as the library lays it out. */
export function trainingMemory(a: Architecture, lora: LoraSize, m: TrainingMemory): number {
  const act = m.activationBytes ?? BF16;
  const groups = layerGroups(a, lora);
  const tables = a.tieWordEmbeddings ? 1 : m.embeddingsOnHost ? 1 : 2;
  const parameters = loraParameters(a, lora);
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  const products = q + 2 * kv + a.hiddenSize + 2 * a.intermediateSize;
  const inputs = groups.reduce((n, group) => n + group.in + group.rank, 0);
  const between = inputs * act + (2 + a.numHeads) * FP32;
  const widest = Math.max(...groups.map((group) => group.in + group.rank));
  const backward = a.hiddenSize * 2 + q + 2 * widest + q + 2 * kv;
  const tiles = groups.map((group) => group.out * (group.in + group.rank) * act);
  const lastRows = Math.min(m.tokens, m.targets) * (2 * a.hiddenSize + q);
  return tables * a.vocabSize * a.hiddenSize * act + layerWeights(a) * NF4 +
    parameters * (FP32 + act) + parameters * 3 * FP32 +
    m.tokens * (a.numLayers * a.hiddenSize * act + m.kept.products * products * act +
        m.kept.whole * between + backward * act) +
    lastRows * act + LOSS_BYTES +
    (m.resident ? a.numLayers * tiles.reduce((x, y) => x + y, 0) : Math.max(...tiles));
}

/** What a run is expected to take. */
export interface Forecast {
  /** Tokens of a micro-batch. */
  readonly microBatchTokens: number;
  readonly kept: KeptLayers;
  readonly resident: boolean;
  readonly embeddingsOnHost: boolean;
  /** Device bytes, the CUDA context included. */
  readonly memoryBytes: number;
  readonly stepSeconds: number;
  /** Training and one validation. */
  readonly seconds: number;
}

/** Of the memory, what training may fill: the rest is the screen's and the driver's. */
const USABLE = 0.9;
/** The planner keeps weights dequantised where they take no more than this share of the memory. */
const RESIDENT_SHARE = 1 / 8;

/** The sizes of one step's micro-batches when each holds at most so many tokens. */
function stepBatches(run: RunShape, tokens: number): { size: BatchSize; count: number } {
  const each = Math.max(1, Math.min(run.batchSize, Math.floor((tokens - run.prefix) / run.own)));
  const count = Math.ceil(run.batchSize / each);
  const samples = run.batchSize / count;
  return {
    count,
    size: {
      tokens: run.prefix + samples * run.own,
      targets: samples * run.answer,
      pairs: attendedPairs(run.prefix, []) + samples * attendedPairs(0, [run.own]) +
        samples * run.own * run.prefix,
    },
  };
}

/** As many layers kept as fit: their products first, then all of them; null: nothing fits. */
function keepLayers(
  a: Architecture,
  lora: LoraSize,
  capacity: Omit<TrainingMemory, "kept">,
  room: number,
): KeptLayers | null {
  const bytes = (products: number, whole: number) =>
    trainingMemory(a, lora, { ...capacity, kept: { products, whole } });
  const least = bytes(1, 1);
  if (least > room) return null;
  const more = (from: number, to: number, layers: number) =>
    Math.floor((room - from) / ((to - from) / layers));
  const rest = a.numLayers - 1;
  if (rest === 0) return { products: 1, whole: 1 };
  const products = 1 + Math.min(rest, more(least, bytes(a.numLayers, 1), rest));
  const with1 = bytes(products, 1);
  const whole = products < 2
    ? 1
    : 1 + Math.min(products - 1, more(with1, bytes(products, products), products - 1));
  return { products, whole };
}

/**
 * Predicts a run: the micro-batch and the kept layers that take least time within the memory.
 *
 * @param options.memoryBytes device memory that may be used. @default nine tenths of the machine's
 * @returns null when not even one sample at a time fits
 */
export function forecastRun(
  a: Architecture,
  lora: LoraSize & { readonly dropout: number },
  run: RunShape,
  machine: Machine,
  options: { readonly memoryBytes?: number } = {},
): Forecast | null {
  const usable = (options.memoryBytes ?? USABLE * machine.memoryBytes) - CONTEXT_BYTES;
  let best: Forecast | null = null;
  const whole = run.prefix + run.batchSize * (run.longest - run.prefix);
  for (const embeddingsOnHost of [false, true]) {
    if (best !== null) break;
    for (let tokens = whole;; tokens = Math.max(run.longest, Math.floor(tokens * 0.75))) {
      const tiles = layerWeights(a) * BF16;
      const resident = tiles <= RESIDENT_SHARE * machine.memoryBytes && tiles < 0.5 * usable;
      const capacity = { tokens, targets: tokens, resident, embeddingsOnHost };
      const kept = keepLayers(a, lora, capacity, usable);
      if (kept !== null) {
        const layout = { kept, resident, dropout: lora.dropout > 0 };
        const { size, count } = stepBatches(run, tokens);
        const stepSeconds = count * microBatchTime(a, lora, size, layout, machine).total +
          optimizerTime(a, lora, layout, machine);
        const steps = Math.ceil(run.samples / run.batchSize);
        const validation = run.validation / (run.batchSize / count) *
          evaluationTime(a, lora, size, layout, machine);
        const seconds = steps * stepSeconds + validation;
        if (best === null || seconds < best.seconds) {
          best = {
            microBatchTokens: tokens,
            kept,
            resident,
            embeddingsOnHost,
            memoryBytes: trainingMemory(a, lora, { ...capacity, kept }) + CONTEXT_BYTES,
            stepSeconds,
            seconds,
          };
        }
      }
      if (tokens === run.longest) break;
    }
  }
  return best;
}
