/** A packed micro-batch, as the engine takes it. */
import { BATCH } from "@lib/engine/structs.ts";
import { writeStruct } from "@lib/engine/struct.ts";

/**
 * Sequences laid end to end without padding, behind an optional shared prefix. The meaning of every
 * field is that of `qlora_batch` in `native/include/qlora.h`.
 */
export interface Batch {
  /** (tokens) the prefix first, then each sequence. */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  /** Tokens all sequences share; 0: none. */
  readonly prefixLength: number;
  /** (sequences + 1) first entry `prefixLength`, last entry the number of tokens. */
  readonly cuSeqlens: Int32Array<ArrayBuffer>;
  /** (sequences) sample numbers: they key the dropout mask. */
  readonly sequenceKeys: Int32Array<ArrayBuffer>;
  /** (targets) row that predicts, ascending. */
  readonly targetRows: Int32Array<ArrayBuffer>;
  /** (targets) token predicted. */
  readonly targetIds: Int32Array<ArrayBuffer>;
  /** (targets) weight in the loss; undefined: all 1. */
  readonly targetWeights?: Float32Array<ArrayBuffer> | undefined;
}

/**
 * One sequence by itself.
 *
 * @param tokens its ids
 * @param rows rows that predict, ascending
 * @param id the token whose probability is asked for at each of them. @default {0}
 * @example
 * ```ts
 * import { sequenceBatch } from "@lib/engine/batch.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals([...sequenceBatch([7, 8, 9], [2]).cuSeqlens], [0, 3]);
 * ```
 */
export function sequenceBatch(
  tokens: ArrayLike<number>,
  rows: ArrayLike<number>,
  id = 0,
): Batch {
  return {
    tokenIds: Int32Array.from(tokens),
    prefixLength: 0,
    cuSeqlens: Int32Array.of(0, tokens.length),
    sequenceKeys: Int32Array.of(0),
    targetRows: Int32Array.from(rows),
    targetIds: new Int32Array(rows.length).fill(id),
  };
}

/** A batch encoded for one native call. Keep it referenced until the call has returned. */
export interface NativeBatch {
  readonly struct: Uint8Array<ArrayBuffer>;
  readonly batch: Batch;
}

/** Address of an array's first element; 0 for an empty or absent one. */
export function addressOf(array: ArrayBufferView<ArrayBuffer> | undefined): bigint {
  if (array === undefined || array.byteLength === 0) return 0n;
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(array));
}

/** Encodes a batch; the arrays are not copied. */
export function encodeBatch(batch: Batch): NativeBatch {
  const struct = new Uint8Array(BATCH.size);
  writeStruct(BATCH, struct, {
    struct_size: BATCH.size,
    num_tokens: batch.tokenIds.length,
    num_sequences: batch.cuSeqlens.length - 1,
    prefix_length: batch.prefixLength,
    num_targets: batch.targetIds.length,
    token_ids: addressOf(batch.tokenIds),
    cu_seqlens: addressOf(batch.cuSeqlens),
    sequence_keys: addressOf(batch.sequenceKeys),
    target_rows: addressOf(batch.targetRows),
    target_ids: addressOf(batch.targetIds),
    target_weights: addressOf(batch.targetWeights),
  });
  return { struct, batch };
}
