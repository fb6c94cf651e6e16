import { assert, assertEquals } from "@std/assert";
import { type Architecture, countParameters } from "@lib/engine/architecture.ts";
import { LORA_MODULES } from "@lib/config.ts";
import { KNOWN_MODELS } from "@lib/training/known_models.ts";
import { longestTrainable } from "@lib/training/trainable.ts";

const LORA = { r: 16, alpha: 32, dropout: 0.05, targetModules: [...LORA_MODULES] };
const CPU = { backend: "cpu" } as const;

function shapeOf(part: string): Architecture {
  const found = KNOWN_MODELS.find(({ id }) => id.includes(part));
  if (found === undefined) throw new Error(`no known model is named like ${part}`);
  return found.architecture;
}

Deno.test("the known shapes have the parameters their names say", () => {
  for (const { id, architecture } of KNOWN_MODELS) {
    const [, size, unit] = /(\d+(?:\.\d+)?)([BM])/.exec(id.slice(id.search(/-\d+(\.\d+)?[BM]/))) ??
      [];
    const named = Number(size) * (unit === "B" ? 1e9 : 1e6);
    const counted = countParameters(architecture);
    assert(Math.abs(counted / named - 1) < 0.25, `${id}: ${counted} against ${named}`);
  }
  const sizes = KNOWN_MODELS.map(({ architecture }) => countParameters(architecture));
  assertEquals(sizes, sizes.toSorted((a, b) => a - b));
});

Deno.test("less memory means shorter samples, and too little none", () => {
  const [smallest, largest] = [shapeOf("SmolLM2-135M"), shapeOf("Qwen3-8B")];
  const roomy = longestTrainable(smallest, CPU, LORA, "8GB");
  const tight = longestTrainable(smallest, CPU, LORA, "700MB");
  assertEquals(roomy?.length, 4096);
  assert(tight !== null && tight.length < 4096 && tight.bytes <= 700e6, JSON.stringify(tight));
  assertEquals(longestTrainable(largest, CPU, LORA, "1GB"), null);
});
