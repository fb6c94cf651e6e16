import { assertAlmostEquals, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type ReadGguf, readGguf } from "./gguf_reader.ts";
import { saveGgufAdapter } from "@lib/weights/gguf/adapter.ts";
import { encodeQ8 } from "@lib/weights/gguf/encode.ts";
import { saveGguf, TENSOR_TYPES, type TensorType } from "@lib/weights/gguf/format.ts";
import { saveGgufModel } from "@lib/weights/gguf/model.ts";
import { permuteRows } from "@lib/weights/gguf/names.ts";
import { loadTokenizerFields } from "@lib/weights/gguf/tokenizer.ts";
import { decodeFloats } from "@lib/weights/floats.ts";
import { MergedModel } from "@lib/weights/merge.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const BASE = `${ROOT}data/tiny-llama`;
const ADAPTERS = `${ROOT}tests/golden/adapters`;

interface GoldenFile {
  fields: Record<string, { types: string[]; value: unknown }>;
  tensors: Record<string, { type: string; shape: number[]; sha256: string }>;
  rope_factors: number[] | null;
}
const golden: { gguf: string; files: Record<string, GoldenFile> } = JSON.parse(
  await Deno.readTextFile(`${ROOT}tests/golden/gguf/golden.json`),
);

/** Keys the converter takes from the model card or makes up; a run's model has its own. */
const OWN = /^general\.(name|license|languages|tags|sampling\..*|base_model\..*)$/;

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const sha256 = async (data: Uint8Array<ArrayBuffer>) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();

/** A value as the golden file writes it. */
async function summary(value: unknown): Promise<unknown> {
  if ((typeof value !== "string" && !Array.isArray(value)) || value.length <= 64) return value;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  // Python counts code points.
  const length = typeof value === "string" ? [...value].length : value.length;
  return { length, sha256: await sha256(new TextEncoder().encode(text)) };
}

async function assertGolden(file: ReadGguf, name: string): Promise<void> {
  const expected = golden.files[name];
  if (expected === undefined) throw new Error(`no golden file ${name}`);
  const keys = [...file.fields.keys()].filter((key) => !OWN.test(key)).sort();
  assertEquals(keys, Object.keys(expected.fields).filter((key) => !OWN.test(key)).sort());
  for (const key of keys) {
    const { types, value } = file.fields.get(key) ?? { types: [], value: null };
    assertEquals({ types, value: await summary(value) }, expected.fields[key] as unknown, key);
  }
  assertEquals([...file.tensors.keys()], Object.keys(expected.tensors));
  for (const { name: tensor, type, shape, data } of file.tensors.values()) {
    const want = expected.tensors[tensor];
    assertEquals({ type, shape }, { type: want?.type, shape: want?.shape }, tensor);
    // The converter computes these in fp32 throughout.
    if (tensor === "rope_freqs.weight") {
      const factors = decodeFloats(data, "F32");
      expected.rope_factors?.forEach((f, i) => assertAlmostEquals(factors[i] ?? 0, f, 1e-6));
    } else assertEquals(await sha256(data), want?.sha256, tensor);
  }
}

for (const type of Object.keys(TENSOR_TYPES) as TensorType[]) {
  Deno.test(`a GGUF model in ${type} is what llama.cpp's converter writes`, () =>
    withFolder(async (folder) => {
      using model = await MergedModel.open(BASE, null);
      const report = await saveGgufModel(`${folder}/m.gguf`, model, type, "tiny");
      const file = readGguf(await Deno.readFile(`${folder}/m.gguf`));
      await assertGolden(file, type.toLowerCase());
      assertEquals(report.tensors, file.tensors.size);
      assertEquals(file.fields.get("general.name")?.value, "tiny");
    }));
}

Deno.test("a GGUF adapter is what llama.cpp's converter writes", () =>
  withFolder(async (folder) => {
    using model = await MergedModel.open(BASE, `${ADAPTERS}/list`);
    const { adapter, base } = model;
    if (adapter === null) throw new Error("expected an adapter");
    await saveGgufAdapter(`${folder}/a.gguf`, adapter, base.architecture, "tiny");
    await assertGolden(readGguf(await Deno.readFile(`${folder}/a.gguf`)), "adapter");
  }));

Deno.test("a GGUF adapter of several ranks and alphas has the update of its file", () =>
  withFolder(async (folder) => {
    for (const name of ["patterns", "layers", "all_linear"]) {
      using model = await MergedModel.open(BASE, `${ADAPTERS}/${name}`);
      const { adapter, base } = model;
      if (adapter === null) throw new Error("expected an adapter");
      await saveGgufAdapter(`${folder}/a.gguf`, adapter, base.architecture, "tiny");
      const file = readGguf(await Deno.readFile(`${folder}/a.gguf`));
      const alpha = Number(file.fields.get("adapter.lora.alpha")?.value);
      assertEquals(file.tensors.size, 2 * adapter.updates.size);
      for (const update of adapter.updates.values()) {
        const part = update.module.replace("_proj", "");
        if (part !== "down" && part !== "up") continue;
        const tensor = file.tensors.get(`blk.${update.layer}.ffn_${part}.weight.lora_b`);
        assertEquals(tensor?.shape, [update.rank, update.outputs]);
        const b = decodeFloats(tensor?.data ?? new Uint8Array(), "F32");
        const scale = alpha / update.rank; // as llama.cpp scales it
        b.forEach((v, i) => assertAlmostEquals(v * scale, (update.b[i] ?? 0) * update.scale, 1e-6));
      }
    }
  }));

Deno.test("the rows of q and k, put back, are the original's", () =>
  withFolder(async (folder) => {
    using model = await MergedModel.open(BASE, null);
    await saveGgufModel(`${folder}/m.gguf`, model, "F32", "tiny");
    const { tensors } = readGguf(await Deno.readFile(`${folder}/m.gguf`));
    const { headDim } = model.base.architecture;
    for (const [ours, theirs] of [["q_proj", "attn_q"], ["k_proj", "attn_k"]]) {
      const name = `model.layers.2.self_attn.${ours}.weight`;
      const { columns, rows } = model.base.tensor(name);
      const data = tensors.get(`blk.2.${theirs}.weight`)?.data ?? new Uint8Array();
      const permuted = decodeFloats(data, "F32");
      const original = (await model.blocks(name).next()).value?.values as Float32Array;
      for (let row = 0; row < rows; row++) {
        // llama.cpp turns the pair (2i, 2i + 1), Hugging Face (i, i + headDim / 2).
        const i = row % headDim;
        const from = row - i + (i % 2) * (headDim / 2) + Math.floor(i / 2);
        assertEquals(
          permuted.subarray(row * columns, (row + 1) * columns),
          original.subarray(from * columns, (from + 1) * columns),
        );
      }
    }
    assertEquals([...permuteRows(Float32Array.of(0, 1, 2, 3), 4, 1)], [0, 2, 1, 3]);
  }));

Deno.test("Q8_0 keeps each number within half a step of its block", () => {
  const values = Float32Array.from({ length: 96 }, (_, i) => i < 32 ? 0 : Math.sin(i * 7) * i);
  const bytes = encodeQ8(values);
  const view = new DataView(bytes.buffer);
  assertEquals([...bytes.subarray(0, 34)], Array(34).fill(0));
  for (let i = 32; i < 96; i++) {
    const block = Math.floor(i / 32);
    const d = view.getFloat16(34 * block, true);
    const got = d * view.getInt8(34 * block + 2 + i % 32);
    // Half a step, and what rounding d to fp16 costs at 127 steps.
    assertAlmostEquals(got, values[i] ?? 0, d * (0.5 + 127 * 2 ** -11));
  }
});

Deno.test("a tensor of the wrong length leaves no file", () =>
  withFolder(async (folder) => {
    const short = {
      name: "x",
      type: "F32" as const,
      shape: [2, 2],
      async *chunks() {
        yield await Promise.resolve(new Uint8Array(12));
      },
    };
    const error = await assertRejects(() => saveGguf(`${folder}/m.gguf`, new Map(), [short]));
    assertStringIncludes(String(error), "expected 16 bytes, found 12");
    assertEquals([...Deno.readDirSync(folder)], []);
  }));

Deno.test("a tokenizer GGUF has no form for is refused with the way out", () =>
  withFolder(async (folder) => {
    const json = JSON.parse(await Deno.readTextFile(`${BASE}/tokenizer.json`));
    await Deno.copyFile(`${BASE}/tokenizer_config.json`, `${folder}/tokenizer_config.json`);
    const refusal = async (changed: unknown, vocabSize = 4096) => {
      await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(changed));
      return String(await assertRejects(() => loadTokenizerFields(folder, vocabSize)));
    };
    assertStringIncludes(
      await refusal({ ...json, model: { ...json.model, byte_fallback: true } }),
      "SentencePiece",
    );
    assertStringIncludes(
      await refusal({ ...json, model: { ...json.model, type: "Unigram" } }),
      "found Unigram",
    );
    assertStringIncludes(
      await refusal({ ...json, pre_tokenizer: { type: "Whitespace" } }),
      "convert_hf_to_gguf.py",
    );
    assertStringIncludes(await refusal(json, 4000), "vocab_size 4000");
  }));

Deno.test("Llama 3's and Qwen2's splitting expressions have their names", () =>
  withFolder(async (folder) => {
    const json = JSON.parse(await Deno.readTextFile(`${BASE}/tokenizer.json`));
    await Deno.copyFile(`${BASE}/tokenizer_config.json`, `${folder}/tokenizer_config.json`);
    const start = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
    const end = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    for (const [digits, name] of [["\\p{N}{1,3}", "llama-bpe"], ["\\p{N}", "qwen2"]]) {
      json.pre_tokenizer.pretokenizers[0].pattern.Regex = `${start}${digits}${end}`;
      await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(json));
      const { fields, note } = await loadTokenizerFields(folder, 4096);
      assertEquals(fields.get("tokenizer.ggml.pre"), { type: "string", value: name ?? "" });
      assertEquals(note, null);
    }
  }));
