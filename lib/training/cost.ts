/**
 * How long an optimiser step takes, from what the memory plan keeps and where it puts things: what
 * the planner compares its choices by. Absolute times depend on the machine's rates; choices hardly
 * do.
 */
import { type Architecture, countParameters } from "@lib/engine/architecture.ts";
import type { LibraryDescription } from "@lib/engine/library.ts";
import type { MemoryReport } from "@lib/engine/memory.ts";
import type { HostTensors } from "@lib/engine/model.ts";

/** A machine as three rates. */
export interface MachineRates {
  /** Operations a second of a large product. */
  readonly productFlops: number;
  /** Bytes a second, read plus written, in device memory. */
  readonly copyBytes: number;
  /** Bytes a second between host and device. */
  readonly busBytes: number;
}

/** Per multiprocessor, by compute capability: what large products and copies reach. */
const PER_MULTIPROCESSOR: Readonly<Record<string, readonly [flops: number, bytes: number]>> = {
  "8.0": [2.3e12, 13e9],
  "8.6": [0.75e12, 11e9],
  "8.9": [1.05e12, 8e9],
  "9.0": [5e12, 29e9],
  "10.0": [11e12, 45e9],
  "12.0": [1.05e12, 9e9],
};
const UNKNOWN = [1e12, 10e9] as const;
const PCIE_4 = 22e9;
const PCIE_5 = 45e9;

/** The rates of the device a library describes, from its generation and size. */
export function expectedRates(description: LibraryDescription): MachineRates {
  if (description.backend === "cpu") return { productFlops: 1e11, copyBytes: 2e10, busBytes: 2e10 };
  const capability = String(description["compute_capability"] ?? "");
  const count = Number(description["multiprocessors"] ?? 50);
  const [flops, bytes] = PER_MULTIPROCESSOR[capability] ?? UNKNOWN;
  return {
    productFlops: flops * count,
    copyBytes: bytes * count,
    busBytes: Number(capability) >= 9 ? PCIE_5 : PCIE_4,
  };
}

/** An optimiser step, cut into micro-batches. */
export interface StepShape {
  readonly microBatches: number;
  /** Tokens computed in all of them, a shared prefix once in each. */
  readonly tokens: number;
  /** Tokens predicted. */
  readonly targets: number;
}

/** What a plan decided. */
export interface PlannedMemory {
  readonly report: MemoryReport;
  readonly host: readonly HostTensors[];
  /** Parameters of the adapter. */
  readonly trainable: number;
}

/** Bytes of an NF4 weight with its constants, read, and of a bf16 one, written. */
const DEQUANTIZE_BYTES = 0.516 + 2;
/** Kernel launches and a wait for the host, seconds a micro-batch and layer. */
const LAUNCH_SECONDS = 1.5e-4;

/** Seconds of one optimiser step. */
export function stepSeconds(
  a: Architecture,
  shape: StepShape,
  { report, host, trainable }: PlannedMemory,
  rates: MachineRates,
): number {
  const { microBatches, tokens, targets } = shape;
  const head = a.vocabSize * a.hiddenSize;
  const layers = countParameters(a) - head * (a.tieWordEmbeddings ? 1 : 2);
  const down = a.numLayers * a.hiddenSize * a.intermediateSize;
  // Recomputed of the forward pass: products (all but down's) and what lies between them.
  const recomputed = (1 - report.kept_layers / a.numLayers) * (1 - down / layers);
  const between = 1 - report.whole_layers / a.numLayers;

  const products = 2 * layers * tokens * (2 + recomputed) + 4 * head * targets;
  const elementwise = tokens * a.numLayers * layerBytes(a) * (3 + between);
  const dequantized = report.resident === 1 ? 0 : layers * DEQUANTIZE_BYTES;
  let seconds = products / rates.productFlops + elementwise / rates.copyBytes +
    microBatches * (2 + recomputed) * dequantized / rates.copyBytes +
    microBatches * a.numLayers * LAUNCH_SECONDS;
  if (host.includes("embeddings")) seconds += 2 * tokens * a.hiddenSize / rates.busBytes;
  if (host.includes("head")) {
    const streamed = microBatches * 2 * head / rates.busBytes;
    seconds += Math.max(0, streamed - 4 * head * targets / rates.productFlops);
  }
  // Both moments are read and written; the bus carries both ways at once.
  if (host.includes("optimizer")) seconds += 8 * trainable / rates.busBytes;
  return seconds;
}

/** Bytes a token's norms, rotation, SwiGLU, dropout and LoRA inputs move in one layer's forward. */
function layerBytes(a: Architecture): number {
  return 2 * (20 * a.hiddenSize + 5 * a.intermediateSize);
}
