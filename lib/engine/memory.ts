/** Device memory by kind, as the engine accounts for it. */
import { MEMORY_REPORT } from "@lib/engine/structs.ts";
import { readStruct } from "@lib/engine/struct.ts";

/** Bytes by kind; on the CPU the device is the host. See `qlora_memory_report` in the header. */
export interface MemoryReport {
  /** Layers whose activations are kept; the others are recomputed in the backward pass. */
  readonly kept_layers: number;
  readonly embeddings: number;
  readonly base: number;
  readonly constants: number;
  readonly lora: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly workspace: number;
  readonly kv_cache: number;
  readonly total: number;
  readonly device_total: number;
  readonly device_free: number;
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
