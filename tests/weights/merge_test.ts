import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { assertStringIncludes } from "@std/assert";
import { absmaxDequantize, absmaxQuantize, nf4Dequantize, nf4Quantize } from "@lib/engine/nf4.ts";
import { Checkpoint } from "@lib/weights/checkpoint_rows.ts";
import { decodeFloats, encodeFloats } from "@lib/weights/floats.ts";
import { loadModel } from "@lib/weights/folder.ts";
import { MergedModel, saveMerged } from "@lib/weights/merge.ts";
import { SafetensorsFile, saveSafetensors, toFloat32 } from "@lib/weights/safetensors.ts";
import type { TensorData } from "@lib/weights/safetensors.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const BASE = `${ROOT}data/tiny-llama`;
const ADAPTERS = `${ROOT}tests/golden/adapters`;

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The tiny model as a folder of two fp32 shards with an index. */
async function shardedBase(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${BASE}/${name}`, `${folder}/${name}`);
  }
  using file = await SafetensorsFile.open(`${BASE}/model.safetensors`);
  const shards = [new Map<string, TensorData>(), new Map<string, TensorData>()];
  const map: Record<string, string> = {};
  for (const name of file.header.tensors.keys()) {
    const { info, data } = await file.read(name);
    const shard = name.includes(".layers.3.") ? 1 : 0;
    const values = toFloat32(data, info.dtype);
    shards[shard]?.set(name, { dtype: "F32", shape: info.shape, data: values });
    map[name] = `model-0000${shard + 1}-of-00002.safetensors`;
  }
  for (const [i, tensors] of shards.entries()) {
    await saveSafetensors(`${folder}/model-0000${i + 1}-of-00002.safetensors`, tensors);
  }
  const index = JSON.stringify({ metadata: {}, weight_map: map });
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, index);
}

Deno.test("a merged fp32 model in shards gives PEFT's logits without an adapter", () =>
  withFolder(async (folder) => {
    await shardedBase(`${folder}/base`);
    const golden = JSON.parse(await Deno.readTextFile(`${ADAPTERS}/golden.json`));
    using logits = await SafetensorsFile.open(`${ADAPTERS}/logits.safetensors`);
    for (const name of ["patterns", "layers"]) {
      using merged = await MergedModel.open(`${folder}/base`, `${ADAPTERS}/${name}`);
      await saveMerged(merged, `${folder}/merged`);
      const options = { quantization: "none", backend: "cpu" } as const;
      const model = await loadModel(`${folder}/merged`, options);
      try {
        const got = await model.logits({
          tokenIds: Int32Array.from(golden.ids),
          prefixLength: 0,
          cuSeqlens: Int32Array.of(0, golden.ids.length),
          sequenceKeys: Int32Array.of(0),
          targetRows: Int32Array.from(golden.rows),
          targetIds: Int32Array.from(golden.rows, () => 0),
        });
        const want = toFloat32((await logits.read(name)).data, "F32");
        want.forEach((v, i) => assertAlmostEquals(got[i] ?? NaN, v, 1e-4));
      } finally {
        await model.close();
      }
    }
    const names = [...Deno.readDirSync(`${folder}/merged`)].map((e) => e.name).sort();
    assertEquals(names, [
      "config.json",
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
      "model.safetensors.index.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  }));

Deno.test("a merged bf16 weight is the exact sum rounded once; the rest is copied bit for bit", () =>
  withFolder(async (folder) => {
    using merged = await MergedModel.open(BASE, `${ADAPTERS}/patterns`);
    await saveMerged(merged, folder);
    using before = await SafetensorsFile.open(`${BASE}/model.safetensors`);
    using after = await SafetensorsFile.open(`${folder}/model.safetensors`);
    assertEquals([...after.header.tensors.keys()], [...before.header.tensors.keys()]);
    let changed = 0;
    for (const name of before.header.tensors.keys()) {
      const old = await before.read(name);
      const { info, data } = await after.read(name);
      assertEquals([info.dtype, info.shape], [old.info.dtype, old.info.shape]);
      const update = merged.adapter?.updates.get(name);
      if (update === undefined) {
        assertEquals(data, old.data, name);
        continue;
      }
      changed++;
      const [w, got] = [decodeFloats(old.data, "BF16"), decodeFloats(data, "BF16")];
      const { rank, inputs, outputs, scale, a, b } = update;
      for (let i = 0; i < outputs; i += 7) {
        for (let j = 0; j < inputs; j += 5) {
          let sum = 0;
          for (let k = 0; k < rank; k++) {
            sum += (b[i * rank + k] ?? 0) * (a[k * inputs + j] ?? 0);
          }
          const exact = (w[i * inputs + j] ?? 0) + scale * sum;
          // Half of bf16's last place, and a little for fp32's.
          const half = 2 ** (Math.floor(Math.log2(Math.abs(exact))) - 8);
          assertAlmostEquals(got[i * inputs + j] ?? NaN, exact, half * 1.001 + 1e-12);
        }
      }
    }
    assertEquals(changed, 15);
    for (const name of ["tokenizer.json", "chat_template.jinja", "generation_config.json"]) {
      assertEquals(
        await Deno.readFile(`${folder}/${name}`),
        await Deno.readFile(`${BASE}/${name}`),
      );
    }
  }));

Deno.test("the base model is not overwritten, and a cancelled merge leaves no file", () =>
  withFolder(async (folder) => {
    await shardedBase(`${folder}/base`);
    using merged = await MergedModel.open(`${folder}/base`, null);
    const same = await assertRejects(() => saveMerged(merged, `${folder}/base/../base`));
    assertStringIncludes(String(same), "the base model itself");
    const controller = new AbortController();
    await assertRejects(() =>
      saveMerged(merged, `${folder}/out`, () => controller.abort(), controller.signal)
    );
    assertEquals([...Deno.readDirSync(`${folder}/out`)], []);
  }));

/** The tiny model with one linear in bitsandbytes' NF4. @returns its values when dequantised */
async function nf4Base(folder: string): Promise<Float32Array> {
  await Deno.mkdir(folder, { recursive: true });
  const config = JSON.parse(await Deno.readTextFile(`${BASE}/config.json`));
  config.quantization_config = {
    quant_method: "bitsandbytes",
    load_in_4bit: true,
    bnb_4bit_quant_type: "nf4",
    bnb_4bit_use_double_quant: true,
    bnb_4bit_quant_storage: "uint8",
  };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  using file = await SafetensorsFile.open(`${BASE}/model.safetensors`);
  const tensors = new Map<string, TensorData>();
  const quantized = "model.layers.2.self_attn.k_proj.weight";
  for (const name of file.header.tensors.keys()) {
    const { info, data } = await file.read(name);
    if (name !== quantized) tensors.set(name, { dtype: info.dtype, shape: info.shape, data });
  }
  const { info, data } = await file.read(quantized);
  const nf4 = nf4Quantize(decodeFloats(data, "BF16"));
  const twice = absmaxQuantize(nf4.absmax);
  const codes = Uint8Array.from({ length: 8 }, (_, i) => 32 * i + 2 * i + 1);
  const quantMap = nf4Dequantize({ packed: codes, absmax: Float32Array.of(1) }, 16);
  const nestedMap = absmaxDequantize({
    codes: Uint8Array.from({ length: 256 }, (_, i) => i),
    absmax2: Float32Array.of(1),
    offset: 0,
  });
  const state = new TextEncoder().encode(JSON.stringify({
    ...{ quant_type: "nf4", blocksize: 64, dtype: "bfloat16", shape: info.shape },
    ...{ nested_blocksize: 256, nested_dtype: "float32", nested_offset: twice.offset },
  }));
  const put = (suffix: string, tensor: TensorData) => tensors.set(quantized + suffix, tensor);
  const vector = (values: Float32Array<ArrayBuffer>): TensorData => ({
    ...{ dtype: "F32", shape: [values.length], data: values },
  });
  put("", { dtype: "U8", shape: [nf4.packed.length, 1], data: nf4.packed });
  put(".absmax", { dtype: "U8", shape: [twice.codes.length], data: twice.codes });
  put(".quant_map", vector(quantMap));
  put(".nested_absmax", vector(twice.absmax2));
  put(".nested_quant_map", vector(nestedMap));
  put(".quant_state.bitsandbytes__nf4", { dtype: "U8", shape: [state.length], data: state });
  await saveSafetensors(`${folder}/model.safetensors`, tensors);
  const absmax = absmaxDequantize(twice);
  return nf4Dequantize({ packed: nf4.packed, absmax }, data.length / 2);
}

Deno.test("an NF4 base is merged only when its loss is accepted", () =>
  withFolder(async (folder) => {
    const dequantized = await nf4Base(`${folder}/nf4`);
    const refusal = await assertRejects(() =>
      MergedModel.open(`${folder}/nf4`, `${ADAPTERS}/list`)
    );
    assertStringIncludes(String(refusal), "--dequantize");
    const name = "model.layers.2.self_attn.k_proj.weight";
    {
      using checkpoint = await Checkpoint.open(`${folder}/nf4`);
      assertEquals(checkpoint.tensor(name).shape, [128, 256]);
      const block = (await checkpoint.blocks(name).next()).value;
      assertEquals(block?.values, dequantized);
    }
    using merged = await MergedModel.open(`${folder}/nf4`, `${ADAPTERS}/list`, {
      dequantize: true,
    });
    await saveMerged(merged, `${folder}/merged`);
    const config = JSON.parse(await Deno.readTextFile(`${folder}/merged/config.json`));
    assertEquals("quantization_config" in config, false);
    using out = await SafetensorsFile.open(`${folder}/merged/model.safetensors`);
    const { info, data } = await out.read(name);
    assertEquals([info.dtype, info.shape], ["BF16", [128, 256]]);
    assertEquals(data, encodeFloats(Float32Array.from(dequantized), "BF16"));
    assert([...out.header.tensors.keys()].every((key) => !key.includes("quant")));
  }));

Deno.test("bf16 and fp16 round to the nearest, ties to even, and fp16 refuses to overflow", () => {
  const round = (value: number, dtype: "BF16" | "F16") =>
    decodeFloats(encodeFloats(Float32Array.of(value), dtype), dtype)[0];
  assertEquals(round(1 + 2 ** -8, "BF16"), 1);
  assertEquals(round(1 + 3 * 2 ** -8, "BF16"), 1 + 2 ** -6);
  assertEquals(round(1 + 2 ** -8 + 2 ** -20, "BF16"), 1 + 2 ** -7);
  assertEquals(round(NaN, "BF16"), NaN);
  assertEquals(round(-Infinity, "BF16"), -Infinity);
  assertEquals(round(1 + 2 ** -11, "F16"), 1);
  assertEquals(round(65504, "F16"), 65504);
  let message = "";
  try {
    round(70000, "F16");
  } catch (error) {
    message = String(error);
  }
  assertStringIncludes(message, "Use BF16 or F32");
});
