import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { SMALL, smallModel } from "../fixtures/small_model.ts";
import type { Model } from "@lib/engine/model.ts";
import { Trainer } from "@lib/engine/trainer.ts";
import { loadAdapter, loadAdapterConfig, saveAdapter } from "@lib/weights/adapter.ts";
import { loadModel } from "@lib/weights/folder.ts";
import { loadAdapterPlan } from "@lib/weights/peft_plan.ts";
import { SafetensorsFile, saveSafetensors, toFloat32 } from "@lib/weights/safetensors.ts";
import type { TensorData } from "@lib/weights/safetensors.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const ADAPTERS = `${ROOT}tests/golden/adapters`;
const golden: { ids: number[]; rows: number[] } = JSON.parse(
  await Deno.readTextFile(`${ADAPTERS}/golden.json`),
);
const NAMES = ["list", "all_linear", "patterns", "layers"];

async function goldenLogits(name: string): Promise<Float32Array> {
  using file = await SafetensorsFile.open(`${ADAPTERS}/logits.safetensors`);
  return toFloat32((await file.read(name)).data, "F32");
}

/** Largest difference between the model's logits and PEFT's. */
async function distance(model: Model, name: string): Promise<number> {
  const got = await model.logits({
    tokenIds: Int32Array.from(golden.ids),
    prefixLength: 0,
    cuSeqlens: Int32Array.of(0, golden.ids.length),
    sequenceKeys: Int32Array.of(0),
    targetRows: Int32Array.from(golden.rows),
    targetIds: Int32Array.from(golden.rows, () => 0),
  });
  const want = await goldenLogits(name);
  assertEquals(got.length, want.length);
  return want.reduce((max, v, i) => Math.max(max, Math.abs(v - (got[i] ?? NaN))), 0);
}

Deno.test("PEFT's adapters give PEFT's logits: lists, expressions, ranks, alphas, layers", async () => {
  const model = await loadModel(`${ROOT}data/tiny-llama`, { quantization: "none", backend: "cpu" });
  const folder = await Deno.makeTempDir();
  try {
    for (const name of NAMES) {
      const lora = await loadAdapter(`${ADAPTERS}/${name}`, model);
      const loaded = await distance(model, name);
      assert(loaded < 1e-4, `${name}: ${loaded}`);
      // Written again in our form, with one rank and one alpha, it is still the same.
      await saveAdapter(folder, model, lora, "data/tiny-llama");
      await model.detachLora();
      await loadAdapter(folder, model);
      const again = await distance(model, name);
      assert(again < 1e-4, `${name}: ${again}`);
      await model.detachLora();
    }
  } finally {
    await model.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the engine's rank and scale say what was folded and padded", async () => {
  const list = await loadAdapterPlan(`${ADAPTERS}/list`);
  assertEquals(list.notes, []);
  assertEquals(list.lora, {
    ...{ r: 2, alpha: 4, dropout: 0.1, useRslora: false },
    targetModules: ["q_proj", "v_proj"],
  });
  const { lora, notes } = await loadAdapterPlan(`${ADAPTERS}/patterns`);
  assertEquals([lora.r, lora.alpha], [3, 6]);
  assertEquals(notes.length, 2);
  assertStringIncludes(notes[0] ?? "", "10 of 15 modules");
});

interface Changed {
  readonly config?: Record<string, unknown>;
  readonly tensors?: (tensors: Map<string, TensorData>) => void;
}

/** A copy of a golden adapter with something changed. */
async function changed(folder: string, name: string, { config = {}, tensors }: Changed) {
  const settings = JSON.parse(await Deno.readTextFile(`${ADAPTERS}/${name}/adapter_config.json`));
  const copy = { ...settings, ...config };
  await Deno.writeTextFile(`${folder}/adapter_config.json`, JSON.stringify(copy));
  using file = await SafetensorsFile.open(`${ADAPTERS}/${name}/adapter_model.safetensors`);
  const all = new Map<string, TensorData>();
  for (const key of file.header.tensors.keys()) {
    const { info, data } = await file.read(key);
    all.set(key, { dtype: info.dtype, shape: info.shape, data });
  }
  tensors?.(all);
  await saveSafetensors(`${folder}/adapter_model.safetensors`, all);
}

Deno.test("what the engine cannot represent is refused with the reason", async () => {
  const folder = await Deno.makeTempDir();
  const q = "base_model.model.model.layers.0.self_attn.q_proj";
  const cases: [expected: string, Changed][] = [
    ["DoRA", { config: { use_dora: true } }],
    ["bias", { config: { bias: "lora_only" } }],
    ["modules_to_save", { config: { modules_to_save: ["lm_head"] } }],
    ["fan_in_fan_out", { config: { fan_in_fan_out: true } }],
    ["init_lora_weights", { config: { init_lora_weights: "pissa_niter_4" } }],
    ["layer_replication", { config: { layer_replication: [[0, 2]] } }],
    ["LORA", { config: { peft_type: "LOHA" } }],
    ["belong to no module", { config: { target_modules: ["v_proj"] } }],
    ["cannot be read here", { config: { target_modules: "(?P<x>q_proj" } }],
    ["another rank", { config: { rank_pattern: { q_proj: 5 } } }],
    [`expected the tensor ${q}.lora_B.weight`, {
      tensors: (t) => t.delete(`${q}.lora_B.weight`),
    }],
    ["adapts no such module", {
      tensors: (t) => {
        const data = new Float32Array(4);
        t.set("base_model.model.lm_head.lora_A.weight", { dtype: "F32", shape: [2, 2], data });
      },
    }],
  ];
  try {
    for (const [expected, change] of cases) {
      await changed(folder, "list", change);
      const error = await assertRejects(() => loadAdapterConfig(folder));
      assertStringIncludes(String(error), expected);
      assertStringIncludes(String(error), folder);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("an adapter of another model, or without a targeted layer, is refused", async () => {
  const folder = await Deno.makeTempDir();
  const model = await smallModel();
  try {
    const other = await assertRejects(() => loadAdapter(`${ADAPTERS}/list`, model));
    assertStringIncludes(String(other), "made for another model");
  } finally {
    await model.close();
  }
  const tiny = await loadModel(`${ROOT}data/tiny-llama`, { quantization: "none", backend: "cpu" });
  try {
    await changed(folder, "list", {
      tensors: (t) => [...t.keys()].filter((k) => k.includes(".4.")).forEach((k) => t.delete(k)),
    });
    const error = await assertRejects(() => loadAdapter(folder, tiny));
    assertStringIncludes(String(error), "model.layers.4.self_attn.q_proj");
  } finally {
    await tiny.close();
    await Deno.remove(folder, { recursive: true });
  }
});

/** An adapter of PEFT's form on the small model: q_proj of rank 4 in layer 0, of rank 2 in layer 1. */
async function twoRanks(folder: string): Promise<void> {
  await Deno.writeTextFile(
    `${folder}/adapter_config.json`,
    JSON.stringify({
      ...{ peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj"] },
      rank_pattern: { "layers.0.self_attn.q_proj": 4 },
      alpha_pattern: { "layers.0.self_attn.q_proj": 2 },
    }),
  );
  const tensors = new Map<string, TensorData>();
  for (const [layer, rank] of [4, 2].entries()) {
    const name = `base_model.model.model.layers.${layer}.self_attn.q_proj`;
    const data = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i + 1) / 10);
    const a: TensorData = { dtype: "F32", shape: [rank, 64], data: data(rank * 64) };
    tensors.set(`${name}.lora_A.weight`, a);
    tensors.set(`${name}.lora_B.weight`, {
      dtype: "F32",
      shape: [64, rank],
      data: data(64 * rank),
    });
  }
  await saveSafetensors(`${folder}/adapter_model.safetensors`, tensors);
}

Deno.test("a padded adapter trains on, and what was filled up stays zero", async () => {
  const folder = await Deno.makeTempDir();
  const model = await smallModel();
  try {
    await twoRanks(folder);
    const { r, alpha } = await loadAdapter(folder, model);
    assertEquals([r, alpha], [4, 8]);
    const prefix = "model.layers.1.self_attn.q_proj";
    const read = async () => ({
      a: await model.readLora(`${prefix}.lora_A.weight`, r * SMALL.hiddenSize),
      b: await model.readLora(`${prefix}.lora_B.weight`, r * SMALL.hiddenSize),
    });
    const before = await read();
    const limits = { maxTokens: 64, maxSequences: 4, maxTargets: 64, weightDecay: 0.01 };
    const trainer = await Trainer.create(model, limits);
    const losses: number[] = [];
    for (let step = 0; step < 4; step++) {
      await trainer.accumulate({
        tokenIds: Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8),
        prefixLength: 0,
        cuSeqlens: Int32Array.of(0, 8),
        sequenceKeys: Int32Array.of(0),
        targetRows: Int32Array.of(3, 4, 5, 6),
        targetIds: Int32Array.of(5, 6, 7, 8),
      });
      losses.push((await trainer.step(0.05)).loss);
    }
    assert((losses[3] ?? NaN) < (losses[0] ?? NaN), `${losses}`);
    const after = await read();
    assert(after.a.some((v, i) => v !== before.a[i]) && after.b.some((v, i) => v !== before.b[i]));
    assert(after.a.subarray(2 * SMALL.hiddenSize).every((v) => v === 0));
    assert(after.b.every((v, i) => i % 4 < 2 || v === 0));
  } finally {
    await model.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what is written is what PEFT itself writes for the same adapter", async () => {
  const model = await loadModel(`${ROOT}data/tiny-llama`, { quantization: "none", backend: "cpu" });
  const folder = await Deno.makeTempDir();
  try {
    // "list" has one rank and one alpha, so nothing is folded or padded on the way.
    const lora = await loadAdapter(`${ADAPTERS}/list`, model);
    await saveAdapter(folder, model, lora, "data/tiny-llama");
    using theirs = await SafetensorsFile.open(`${ADAPTERS}/list/adapter_model.safetensors`);
    using ours = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`);
    assertEquals([...ours.header.tensors.keys()].sort(), [...theirs.header.tensors.keys()].sort());
    assertEquals(ours.header.metadata, theirs.header.metadata);
    for (const name of theirs.header.tensors.keys()) {
      const [got, want] = [await ours.read(name), await theirs.read(name)];
      assertEquals([got.info.dtype, got.info.shape], [want.info.dtype, want.info.shape], name);
      assertEquals(got.data, want.data, name);
    }
    const config = async (from: string): Promise<Record<string, unknown>> =>
      JSON.parse(await Deno.readTextFile(`${from}/adapter_config.json`));
    const [got, want] = [await config(folder), await config(`${ADAPTERS}/list`)];
    for (const [key, value] of Object.entries(got)) {
      if (key === "base_model_name_or_path" || key === "revision") continue;
      assert(key in want, `${key}: PEFT knows no such setting`);
      const sorted = (x: unknown) => Array.isArray(x) ? [...x].sort() : x;
      assertEquals(sorted(value), sorted(want[key]), key);
    }
  } finally {
    await model.close();
    await Deno.remove(folder, { recursive: true });
  }
});
