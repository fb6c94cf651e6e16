/** An adapter's updates of the weights: W' = W + s·B·A, in fp32 or finer, some rows at a time. */
import { checkAgainstModel, loadAdapterPlan, PEFT_PREFIX } from "@lib/weights/peft_plan.ts";
import type { AdapterModule, AdapterPlan } from "@lib/weights/peft_plan.ts";
import type { Architecture } from "@lib/engine/architecture.ts";
import { AdapterError } from "@lib/weights/peft_config.ts";
import type { RowBlock } from "@lib/weights/checkpoint_rows.ts";
import { decodeFloats, isFloatDtype } from "@lib/weights/floats.ts";
import { SafetensorsFile } from "@lib/weights/safetensors.ts";

/** One module's update, with the scale and the rank it has in its file. */
export interface LowRankUpdate extends AdapterModule {
  /** (rank × inputs) */
  readonly a: Float32Array<ArrayBuffer>;
  /** (outputs × rank) */
  readonly b: Float32Array<ArrayBuffer>;
}

/** An adapter folder as updates by the name of the weight, e.g. `….q_proj.weight`. */
export interface LowRankAdapter {
  readonly plan: AdapterPlan;
  readonly updates: ReadonlyMap<string, LowRankUpdate>;
}

/**
 * Reads a PEFT adapter whole (an adapter is small).
 *
 * @throws {AdapterError} an adapter of another kind or for another model
 */
export async function loadLowRank(
  folder: string,
  architecture: Architecture,
): Promise<LowRankAdapter> {
  const plan = await loadAdapterPlan(folder);
  checkAgainstModel(plan, architecture);
  using file = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`);
  const updates = new Map<string, LowRankUpdate>();
  for (const [key, part] of plan.modules) {
    const a = await readFloats(file, `${PEFT_PREFIX}${key}.lora_A.weight`);
    const b = await readFloats(file, `${PEFT_PREFIX}${key}.lora_B.weight`);
    updates.set(`${key}.weight`, { ...part, a, b });
  }
  return { plan, updates };
}

async function readFloats(file: SafetensorsFile, name: string): Promise<Float32Array<ArrayBuffer>> {
  const { info, data } = await file.read(name);
  if (isFloatDtype(info.dtype)) return decodeFloats(data, info.dtype);
  throw new AdapterError(
    `${file.path}: ${name}: expected F32, F16 or BF16, found ${info.dtype}. Save the adapter again.`,
  );
}

/**
 * Adds s·B·A to some rows of a weight. Sums are kept in double precision and rounded to fp32 once.
 *
 * @param block its values are changed in place
 *
 * @example
 * ```ts
 * import { addUpdate } from "@lib/weights/low_rank.ts";
 * import { assertEquals } from "@std/assert";
 * const values = Float32Array.of(1, 1, 1, 1);
 * const a = Float32Array.of(1, 2); // (1 × 2)
 * const b = Float32Array.of(3, 4); // (2 × 1)
 * addUpdate({ firstRow: 0, rows: 2, values }, { rank: 1, inputs: 2, scale: 0.5, a, b });
 * assertEquals([...values], [2.5, 4, 3, 5]);
 * ```
 */
export function addUpdate(
  { firstRow, rows, values }: RowBlock,
  { rank, inputs, scale, a, b }: Pick<LowRankUpdate, "rank" | "inputs" | "scale" | "a" | "b">,
): void {
  const sums = new Float64Array(inputs);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < rank; k++) {
      const weight = scale * (b[(firstRow + row) * rank + k] ?? 0);
      const from = k * inputs;
      for (let j = 0; j < inputs; j++) sums[j] = (sums[j] ?? 0) + weight * (a[from + j] ?? 0);
    }
    const to = row * inputs;
    for (let j = 0; j < inputs; j++) values[to + j] = (values[to + j] ?? 0) + (sums[j] ?? 0);
  }
}
