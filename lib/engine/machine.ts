/**
 * A machine as three rates and a size: enough to predict how long a step takes and whether it fits.
 *
 * Rates of cards that are not here are their makers' data sheets: dense bf16 products with fp32
 * accumulation (on GeForce cards half the figure with fp16 accumulation), and memory bandwidth. How
 * much of them a program reaches is measured, here or by others.
 */
import type { DeviceRates } from "@lib/engine/rates.ts";

/** What a machine can do. */
export interface Machine {
  readonly name: string;
  /** Device memory, bytes. */
  readonly memoryBytes: number;
  /** Operations a second of a large product. */
  readonly productFlops: number;
  /** Bytes a second, read plus written. */
  readonly copyBytes: number;
  /** Bytes a second between host and device. */
  readonly busBytes: number;
}

/**
 * What a large product and a large copy reach of the data sheet. Data-centre cards are held by their
 * power: one H200 gives 806 of 989 TFLOP/s and 4,259 of 4,800 GB/s. GeForce cards are not: 25.4 of 25.5
 * on an RTX 3060, 30.7 of 30.2 on a 4060, 160 of 165 on a 4090 (products of 8192, as their owners
 * reported to github.com/zzc0721/torch-performance-test-data, issues 131, 66, 78).
 */
const REACHED = { geforce: 0.97, dataCentre: 0.81, copy: 0.88, bus: 0.8 } as const;

/** TFLOP/s, GB/s, GB, GB/s of the bus; all from data sheets. */
const DATA_SHEETS = {
  "RTX 3060 12 GB": [25.5, 360, 12, 31.5],
  "RTX 3090": [71, 936, 24, 31.5],
  "RTX 4060": [30.2, 272, 8, 15.8],
  "RTX 4070": [58.3, 504, 12, 31.5],
  "RTX 4090": [165.2, 1008, 24, 31.5],
  "A100 40 GB": [312, 1555, 40, 31.5],
  "A100 80 GB": [312, 2039, 80, 31.5],
  "H100": [989, 3350, 80, 63],
  "H200": [989, 4800, 141, 63],
} as const satisfies Record<string, readonly [number, number, number, number]>;

export type MachineName = keyof typeof DATA_SHEETS;

/** Cards by name, at the rates they reach. */
export const MACHINES: Readonly<Record<MachineName, Machine>> = Object.fromEntries(
  Object.entries(DATA_SHEETS).map(([name, [tera, bandwidth, memory, bus]]) => {
    const reached = name.startsWith("RTX") ? REACHED.geforce : REACHED.dataCentre;
    return [name, {
      name,
      memoryBytes: memory * 1e9,
      productFlops: tera * 1e12 * reached,
      copyBytes: bandwidth * 1e9 * REACHED.copy,
      busBytes: bus * 1e9 * REACHED.bus,
    }];
  }),
) as Record<MachineName, Machine>;

/** The machine here, by its own measurement. */
export function measuredMachine(name: string, memoryBytes: number, rates: DeviceRates): Machine {
  return {
    name,
    memoryBytes,
    productFlops: rates.productFlops,
    copyBytes: rates.copyBytes,
    busBytes: rates.uploadBytes,
  };
}
