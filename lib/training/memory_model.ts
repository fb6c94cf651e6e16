/** How much device memory training takes, by arithmetic: for machines whose library is not here. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { type KeptLayers, layerLinears, type LoraSize } from "@lib/engine/flops.ts";

/** A linear group as it is computed: q, k, v and gate, up are one product each. */
export interface Group {
  readonly in: number;
  readonly out: number;
  /** Ranks of its linears, and the sum of rank · out. */
  readonly rank: number;
  readonly rankOut: number;
  readonly behind: boolean;
}

/** Bytes of a number. */
export const BF16 = 2;
/** Bytes of a number. */
export const FP32 = 4;
/** NF4 codes and double-quantised scales, bytes a weight. */
export const NF4 = 0.5 + 1 / 64 + FP32 / (64 * 256);

/** The four products of a layer. */
export function layerGroups(a: Architecture, lora: LoraSize): readonly Group[] {
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
export function loraParameters(a: Architecture, lora: LoraSize): number {
  return a.numLayers *
    layerGroups(a, lora).reduce((n, group) => n + group.rank * group.in + group.rankOut, 0);
}

/** Weights of the seven linears of all layers. */
export function layerWeights(a: Architecture): number {
  return a.numLayers * layerLinears(a).reduce((n, { in: x, out }) => n + x * out, 0);
}

/** Capacity of a trainer, and what it keeps. */
export interface TrainingMemory {
  readonly tokens: number;
  readonly targets: number;
  readonly kept: KeptLayers;
  readonly resident: boolean;
  readonly embeddingsOnHost: boolean;
  /** Memory there is without the context: the shared tile and the logits are shares of it. */
  readonly memoryBytes: number;
  /** Bytes of an activation. @default {2} */
  readonly activationBytes?: number;
}

/** Of the memory: weights that stay dequantised, at most; the tile they share; the logits. */
export const RESIDENT_SHARE = 1 / 4;
const TILE_SHARE = 1 / 128;
const LOGIT_SHARE = 1 / 96;
/** Logits and columns of them that exist at a time. */
const MOST_LOGIT_BYTES = 2 ** 30;
const COLUMNS = { least: 256, most: 16384 };
/** The CUDA context with its libraries. */
export const CONTEXT_BYTES = 0.58e9;

/** Rows begin on 128-byte lines of bf16. */
const PADDING = 64;
const padded = (columns: number): number => Math.ceil(columns / PADDING) * PADDING;

/** Device bytes of training without the context, as the library lays it out. */
export function trainingMemory(a: Architecture, lora: LoraSize, m: TrainingMemory): number {
  const act = m.activationBytes ?? BF16;
  const groups = layerGroups(a, lora);
  const tables = a.tieWordEmbeddings ? 1 : m.embeddingsOnHost ? 1 : 2;
  const parameters = loraParameters(a, lora);
  const [q, kv] = [a.numHeads * a.headDim, a.numKvHeads * a.headDim];
  const products = q + 2 * kv + a.hiddenSize + 2 * a.intermediateSize;
  const inputs = groups.reduce((n, group) => n + padded(group.in + group.rank), 0);
  const between = inputs * act + (2 + a.numHeads) * FP32;
  const widest = Math.max(...groups.map((group) => padded(group.in + group.rank)));
  const backward = m.tokens * ((2 * q + 2 * kv + a.hiddenSize + widest) * act + a.numHeads * FP32);
  const tiles = groups.map((group) => group.out * padded(group.in + group.rank) * act);
  const tile = m.resident
    ? a.numLayers * tiles.reduce((x, y) => x + y, 0)
    : Math.min(Math.max(...tiles), m.memoryBytes * TILE_SHARE);
  const lastRows = Math.min(m.tokens, m.targets) * (2 * a.hiddenSize + q);
  return tables * a.vocabSize * a.hiddenSize * act + layerWeights(a) * NF4 +
    parameters * (FP32 + act) + parameters * 3 * FP32 +
    m.tokens * (a.numLayers * a.hiddenSize * act + m.kept.products * products * act +
        m.kept.whole * between + a.hiddenSize * act) +
    lastRows * act + Math.max(lossMemory(a, m, act), backward) + tile;
}

/** The loss's own: logits of a chunk of the vocabulary and its softmax, four rows a target. */
function lossMemory(
  a: Architecture,
  { targets, memoryBytes }: TrainingMemory,
  act: number,
): number {
  const bytes = Math.min(MOST_LOGIT_BYTES, memoryBytes * LOGIT_SHARE);
  const most = Math.min(COLUMNS.most, Math.floor(bytes / (targets * (FP32 + act))));
  const chunks = Math.ceil(a.vocabSize / Math.max(COLUMNS.least, most));
  const columns = Math.ceil(a.vocabSize / chunks);
  return targets * (columns * (FP32 + act) + a.hiddenSize * (3 * act + FP32));
}
