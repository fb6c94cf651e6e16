/** How fast a bf16 checkpoint goes from host memory into the model, quantised on arrival. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { layerLinears } from "@lib/engine/flops.ts";
import type { Backend } from "@lib/engine/library.ts";
import { Model } from "@lib/engine/model.ts";
import { seededRandom } from "@lib/random.ts";

/** What it took. */
export interface QuantizeTimes {
  /** Bytes of bf16 a second. */
  readonly bytesPerSecond: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Layers timed, after one that warmed up. */
  readonly layers: number;
}

/** Bytes of `count` bf16 numbers as a checkpoint has them, one pattern repeated. */
export function randomBf16(count: number): Uint8Array<ArrayBuffer> {
  const random = seededRandom(3);
  const pattern = new Uint16Array(Math.min(count, 1 << 16));
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (let i = 0; i < pattern.length; i++) {
    float[0] = 0.04 * (random() + random() + random() - 1.5);
    pattern[i] = (bits[0] ?? 0) >>> 16;
  }
  const values = new Uint16Array(count);
  for (let at = 0; at < count; at += pattern.length) {
    values.set(pattern.subarray(0, Math.min(pattern.length, count - at)), at);
  }
  return new Uint8Array(values.buffer);
}

/** Times the linears of some layers; one buffer serves all of them. @throws {EngineError} */
export async function timeQuantize(
  architecture: Architecture,
  backend: Backend,
  layers: number,
): Promise<QuantizeTimes> {
  const linears = layerLinears(architecture);
  const buffer = randomBf16(Math.max(...linears.map((w) => w.in * w.out)));
  const model = await Model.create(architecture, { backend });
  try {
    const load = async (layer: number) => {
      let bytes = 0;
      for (const { module, in: columns, out: rows } of linears) {
        const block = module === "q_proj" || module === "k_proj" || module === "v_proj" ||
            module === "o_proj"
          ? "self_attn"
          : "mlp";
        const data = buffer.subarray(0, 2 * rows * columns);
        const name = `model.layers.${layer}.${block}.${module}.weight`;
        await model.loadTensor(name, "BF16", [rows, columns], data);
        bytes += data.byteLength;
      }
      return bytes;
    };
    await load(0);
    const count = Math.min(layers, architecture.numLayers - 1);
    const begun = performance.now();
    let bytes = 0;
    for (let layer = 1; layer <= count; layer++) bytes += await load(layer);
    const seconds = (performance.now() - begun) / 1000;
    return { bytesPerSecond: bytes / seconds, bytes, seconds, layers: count };
  } finally {
    await model.close();
  }
}
