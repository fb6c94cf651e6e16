/** Device memory by kind, as the engine accounts for it. */
import { MEMORY_REPORT } from "@lib/engine/structs.ts";
import { readStruct } from "@lib/engine/struct.ts";

/** Bytes by kind; on the CPU the device is the host. See `qlora_memory_report` in the header. */
export interface MemoryReport {
  /** Layers whose products are kept; the others are recomputed in the backward pass. */
  readonly kept_layers: number;
  /** Of those, layers that keep everything; in the others norms and attention are recomputed. */
  readonly whole_layers: number;
  readonly embeddings: number;
  readonly base: number;
  readonly constants: number;
  readonly lora: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly workspace: number;
  readonly kv_cache: number;
  /** The device's context and its libraries' own memory. */
  readonly context: number;
  /** Of the kinds above: device bytes in all. */
  readonly total: number;
  /** Pinned host memory the device reads; not in `total`. */
  readonly host: number;
  /** 1: all weights stay dequantised; 0: each is dequantised before it is used. */
  readonly resident: number;
  readonly device_total: number;
  readonly device_free: number;
}

/** The kinds of a report in words, device memory first: what adds up to `total`, then the host's. */
export const MEMORY_KINDS = {
  base: "base weights",
  embeddings: "embeddings and head",
  constants: "scales, norms, tables",
  lora: "LoRA weights",
  optimizer: "gradients and AdamW",
  activations: "activations",
  workspace: "workspace",
  kv_cache: "keys and values",
  context: "context and libraries",
} as const satisfies Partial<Record<keyof MemoryReport, string>>;

/**
 * A report as rows to print, empty kinds left out.
 *
 * @example
 * ```ts
 * import { memoryRows } from "@lib/engine/memory.ts";
 * import type { MemoryReport } from "@lib/engine/memory.ts";
 * import { assertEquals } from "@std/assert";
 * const report = { base: 5e6, total: 5e6, host: 0 } as MemoryReport;
 * assertEquals(memoryRows(report), [
 *   { kind: "base weights", bytes: "5.00 MB" },
 *   { kind: "together", bytes: "5.00 MB" },
 * ]);
 * ```
 */
export function memoryRows(report: MemoryReport): { kind: string; bytes: string }[] {
  const rows = Object.entries(MEMORY_KINDS)
    .map(([key, kind]) => ({ kind: kind as string, size: report[key as keyof MemoryReport] }))
    .concat({ kind: "together", size: report.total })
    .concat({ kind: "besides, in host memory", size: report.host });
  return rows.filter(({ size }) => size > 0)
    .map(({ kind, size }) => ({ kind, bytes: formatBytes(size) }));
}

/** Decodes a report the library filled. */
export function readMemoryReport(bytes: Uint8Array<ArrayBuffer>): MemoryReport {
  const { struct_size: _, ...report } = readStruct(MEMORY_REPORT, bytes);
  return report;
}

/**
 * Bytes in the unit a reader expects.
 *
 * @example
 * ```ts
 * import { formatBytes } from "@lib/engine/memory.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(formatBytes(6_500_000_000), "6.50 GB");
 * ```
 */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(value < 100 ? 2 : 0)} ${units[unit]}`;
}

/**
 * Reads a memory size such as `12GB`, `11.5 GB`, `800MB` or a plain number of bytes.
 *
 * @returns bytes (1 GB = 10^9)
 * @throws {RangeError} anything else
 */
export function parseBytes(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kMGT]?i?B)?\s*$/i.exec(text);
  const factors: Record<string, number> = {
    b: 1,
    kb: 1e3,
    mb: 1e6,
    gb: 1e9,
    tb: 1e12,
    kib: 1024,
    mib: 1024 ** 2,
    gib: 1024 ** 3,
    tib: 1024 ** 4,
  };
  const factor = factors[(match?.[2] ?? "B").toLowerCase()];
  if (match?.[1] === undefined || factor === undefined) {
    throw new RangeError(`Expected a memory size such as 12GB, found '${text}'`);
  }
  return Math.floor(Number(match[1]) * factor);
}
