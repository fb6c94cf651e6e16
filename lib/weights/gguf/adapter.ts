/** An adapter alone as a GGUF file, to be put on the base model by llama.cpp or Ollama. */
import type { Architecture } from "@lib/engine/architecture.ts";
import { encodeTensor } from "@lib/weights/gguf/encode.ts";
import { type GgufTensor, type GgufValue, saveGguf } from "@lib/weights/gguf/format.ts";
import { ggufArchitecture, ggufName, permutedHeads, permuteRows } from "@lib/weights/gguf/names.ts";
import type { LowRankAdapter, LowRankUpdate } from "@lib/weights/low_rank.ts";

/**
 * Writes the adapter in fp32. llama.cpp scales every module by one α over that module's rank; what
 * differs (rank-stabilised scaling, α by module) is folded into α or into B, so that the outputs are
 * the same.
 *
 * @param name `general.name`
 */
export async function saveGgufAdapter(
  path: string,
  adapter: LowRankAdapter,
  architecture: Architecture,
  name: string,
): Promise<void> {
  const { plan, updates } = adapter;
  const alpha = plan.referenceScale * plan.config.r;
  const fields = new Map<string, GgufValue>([
    ["general.architecture", { type: "string", value: ggufArchitecture(architecture) }],
    ["general.type", { type: "string", value: "adapter" }],
    ["adapter.type", { type: "string", value: "lora" }],
    ["general.name", { type: "string", value: name }],
    ["adapter.lora.alpha", { type: "f32", value: alpha }],
    ["general.quantization_version", { type: "u32", value: 2 }],
  ]);
  const tensors = [...updates].flatMap(([weight, update]) =>
    adapterTensors(weight, update, alpha, architecture)
  );
  await saveGguf(path, fields, tensors);
}

function adapterTensors(
  weight: string,
  { a, b, rank, inputs, outputs, scale }: LowRankUpdate,
  alpha: number,
  architecture: Architecture,
): GgufTensor[] {
  const factor = scale * rank / alpha;
  const scaled = factor === 1 ? b : b.map((value) => value * factor);
  const isPermuted = permutedHeads(weight, architecture) > 0;
  const rows = isPermuted ? permuteRows(scaled, architecture.headDim, rank) : scaled;
  const tensor = (side: "a" | "b", shape: number[], values: Float32Array<ArrayBuffer>) => ({
    name: `${ggufName(weight)}.lora_${side}`,
    type: "F32" as const,
    shape,
    async *chunks() {
      yield await Promise.resolve(encodeTensor(values, "F32"));
    },
  });
  return [tensor("a", [rank, inputs], a), tensor("b", [outputs, rank], rows)];
}
