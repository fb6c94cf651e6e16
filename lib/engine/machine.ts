/**
 * A machine as a few rates and a size: enough to predict how long a step takes and whether it fits.
 *
 * Rates of cards that are not here are their makers' data sheets: dense bf16 products with fp32
 * accumulation (on GeForce cards half the figure with fp16 accumulation), and memory bandwidth. How
 * much of them a program reaches is measured, here or by others.
 */
import type { LibraryDescription } from "@lib/engine/library.ts";
import type { DeviceRates } from "@lib/engine/rates.ts";

/** What a machine can do. */
export interface Machine {
  readonly name: string;
  /** Device memory, bytes. */
  readonly memoryBytes: number;
  /** Operations a second of a large product while the clock is high. */
  readonly burstFlops: number;
  /** The same for as long as one likes: less where the card's power holds its clock down. */
  readonly sustainedFlops: number;
  /** Bytes a second, read plus written. */
  readonly copyBytes: number;
  /** Bytes a second between host and device. */
  readonly busBytes: number;
  /** Attention runs on Hopper's own matrix instructions. */
  readonly hopper: boolean;
}

/** Shares of a data sheet's product rate. */
interface ReachedProduct {
  readonly burst: number;
  readonly sustained: number;
}

/**
 * What large products and copies reach of the data sheet. One H200: 790 of 989 TFLOP/s for the first
 * 20 ms, 672 over seconds, when its 700 W leave it 1,320 of 1,980 MHz; 4,259 of 4,800 GB/s. GeForce
 * cards keep their clock: 25.4 of 25.5 on an RTX 3060, 30.7 of 30.2 on a 4060, 160 of 165 on a 4090
 * (products of 8192, as their owners reported to github.com/zzc0721/torch-performance-test-data,
 * issues 131, 66, 78). Of the A100 nothing was measured; its share is an assumption.
 */
const REACHED = {
  geforce: { burst: 0.97, sustained: 0.97 },
  ampere: { burst: 0.85, sustained: 0.81 },
  hopper: { burst: 0.8, sustained: 0.68 },
} as const satisfies Record<string, ReachedProduct>;
const REACHED_COPY = 0.88;
const REACHED_BUS = 0.8;

/** TFLOP/s, GB/s, GB, GB/s of the bus; all from data sheets. */
const DATA_SHEETS = {
  "RTX 3060 12 GB": ["geforce", 25.5, 360, 12, 31.5],
  "RTX 3090": ["geforce", 71, 936, 24, 31.5],
  "RTX 4060": ["geforce", 30.2, 272, 8, 15.8],
  "RTX 4070": ["geforce", 58.3, 504, 12, 31.5],
  "RTX 4090": ["geforce", 165.2, 1008, 24, 31.5],
  "A100 40 GB": ["ampere", 312, 1555, 40, 31.5],
  "A100 80 GB": ["ampere", 312, 2039, 80, 31.5],
  "H100": ["hopper", 989, 3350, 80, 63],
  "H200": ["hopper", 989, 4800, 141, 63],
} as const satisfies Record<
  string,
  readonly [keyof typeof REACHED, number, number, number, number]
>;

export type MachineName = keyof typeof DATA_SHEETS;

/** Cards by name, at the rates they reach. */
export const MACHINES: Readonly<Record<MachineName, Machine>> = Object.fromEntries(
  Object.entries(DATA_SHEETS).map(([name, [kind, tera, bandwidth, memory, bus]]) => [name, {
    name,
    memoryBytes: memory * 1e9,
    burstFlops: tera * 1e12 * REACHED[kind].burst,
    sustainedFlops: tera * 1e12 * REACHED[kind].sustained,
    copyBytes: bandwidth * 1e9 * REACHED_COPY,
    busBytes: bus * 1e9 * REACHED_BUS,
    hopper: kind === "hopper",
  }]),
) as Record<MachineName, Machine>;

/** The machine here, by its own measurement. */
export function measuredMachine(
  { device, compute_capability: capability }: LibraryDescription,
  memoryBytes: number,
  rates: DeviceRates,
): Machine {
  return {
    name: String(device),
    memoryBytes,
    burstFlops: rates.productFlops,
    sustainedFlops: Math.min(rates.sustainedFlops, rates.productFlops),
    copyBytes: rates.copyBytes,
    busBytes: rates.uploadBytes,
    hopper: String(capability).startsWith("9."),
  };
}
