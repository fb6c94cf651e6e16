import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { FileReadError } from "@lib/files.ts";
import { pick, type Random, randomInt, seededRandom } from "@lib/random.ts";
import { CheckpointError } from "@lib/weights/checkpoint.ts";
import { loadModel, ModelFolderError, openCheckpoint } from "@lib/weights/folder.ts";
import { SafetensorsError, toFloat32 } from "@lib/weights/safetensors.ts";
import {
  ARCHITECTURE,
  fileWith,
  saveIndex,
  saveSharded,
  saveWhole,
  SHARDS,
  type Tensors,
  tinyTensors,
  withFolder,
} from "./checkpoint_fixture.ts";

const Q = "model.layers.0.self_attn.q_proj.weight";

/** The message with which a folder is refused. */
async function refusal(folder: string): Promise<string> {
  const error = await assertRejects(() => openCheckpoint(folder, ARCHITECTURE));
  assert(isTyped(error), `not a typed error: ${error}`);
  return error.message;
}

function isTyped(error: unknown): error is Error {
  return error instanceof SafetensorsError || error instanceof CheckpointError ||
    error instanceof ModelFolderError || error instanceof FileReadError;
}

function changed(change: (tensors: Tensors) => void): Tensors {
  const tensors = tinyTensors();
  change(tensors);
  return tensors;
}

const zeros = (dtype: "BF16" | "U8" | "I64" | "F32", ...shape: number[]) => ({
  dtype,
  shape,
  data: new Uint8Array(
    shape.reduce((a, b) => a * b, 1) * { BF16: 2, U8: 1, I64: 8, F32: 4 }[dtype],
  ),
});

Deno.test("whole and sharded checkpoints load as the same model", () =>
  withFolder(async (folder) => {
    const tensors = tinyTensors();
    const read = async () => {
      await using model = await loadModel(folder, { backend: "cpu", quantization: "none" });
      return [...await model.readTensor(Q, 64), ...await model.readTensor("lm_head.weight", 80)];
    };
    await saveSharded(folder, tensors);
    const sharded = await read();
    await saveWhole(folder, tensors);
    assertEquals(await read(), sharded);
    const bytes = tensors.get(Q)?.data as Uint8Array<ArrayBuffer>;
    assertEquals(sharded.slice(0, 64), [...toFloat32(bytes, "BF16")]);
  }));

Deno.test("missing, surplus and wrong tensors are refused by name", () =>
  withFolder(async (folder) => {
    const cases: [(tensors: Tensors) => void, string[]][] = [
      [(t) => t.delete(Q), ["missing 1", Q]],
      [(t) => t.clear(), ["expected 12 tensors", "missing 12", "…"]],
      [(t) => t.set("model.layers.1.mlp.up_proj.weight", zeros("BF16", 12, 8)), ["surplus"]],
      [(t) => t.set("model.layers.0.self_attn.q_proj.bias", zeros("BF16", 8)), ["q_proj.bias"]],
      [(t) => t.set(Q, zeros("BF16", 8, 9)), [Q, "[8,8]", "[8,9]"]],
      [(t) => t.set(Q, zeros("BF16", 64)), [Q, "[8,8]", "[64]"]],
      [(t) => t.set(Q, zeros("I64", 8, 8)), [Q, "F32, F16, BF16", "I64"]],
      [(t) => t.set("model.norm.weight", zeros("U8", 8)), ["model.norm.weight", "found U8"]],
      [(t) => t.set(`${Q}.absmax`, zeros("U8", 1)), ["surplus", "absmax"]],
    ];
    for (const [change, parts] of cases) {
      await saveWhole(folder, changed(change));
      const message = await refusal(folder);
      for (const part of parts) assertStringIncludes(message, part);
    }
  }));

Deno.test("tensors that follow from others may be there", () =>
  withFolder(async (folder) => {
    const inverse = "model.layers.0.self_attn.rotary_emb.inv_freq";
    await saveWhole(folder, changed((t) => t.set(inverse, zeros("F32", 2))));
    using checkpoint = await openCheckpoint(folder, ARCHITECTURE);
    assertEquals(checkpoint.tensors.length, 12);
    const tied = { ...ARCHITECTURE, tieWordEmbeddings: true };
    using small = await openCheckpoint(folder, tied);
    assertEquals(small.tensors.some(({ info }) => info.name === "lm_head.weight"), false);
  }));

/** The parts of the six other 4-bit linears are not needed to see what one lacks. */
Deno.test("4-bit parts are checked, and a conflicting setting is refused", () =>
  withFolder(async (folder) => {
    const parts = (t: Tensors, linear: string, count: number, nested: boolean) => {
      t.set(linear, zeros("U8", count / 2, 1));
      t.set(`${linear}.absmax`, zeros(nested ? "U8" : "F32", Math.ceil(count / 64)));
      t.set(`${linear}.quant_state.bitsandbytes__nf4`, zeros("U8", 90));
      if (nested) t.set(`${linear}.nested_absmax`, zeros("F32", 1));
    };
    const K = "model.layers.0.self_attn.k_proj.weight";
    await saveWhole(folder, changed((t) => parts(t, Q, 64, true)));
    using checkpoint = await openCheckpoint(folder, ARCHITECTURE);
    assertEquals(checkpoint.quantized, "nf4_double");
    const conflict = await assertRejects(
      () => loadModel(folder, { backend: "cpu", quantization: "none" }),
      CheckpointError,
    );
    assertStringIncludes(conflict.message, "Set model.quantization to 'nf4_double'");
    const cases: [(tensors: Tensors) => void, string][] = [
      [(t) => t.delete(`${Q}.absmax`), `missing 1: ${Q}.absmax`],
      [(t) => t.delete(Q), "surplus tensor"],
      [(t) => t.set(Q, zeros("U8", 31, 1)), "expected U8 of 32 elements"],
      [(t) => t.set(`${Q}.absmax`, zeros("U8", 2)), "expected U8 of 1 elements"],
      [(t) => t.set(`${Q}.nested_quant_map`, zeros("F32", 255)), "expected F32 of 256 elements"],
      [(t) => t.set(`${Q}.other`, zeros("F32", 1)), "surplus"],
      [(t) => parts(t, K, 32, false), "one bnb_4bit_use_double_quant"],
    ];
    for (const [change, part] of cases) {
      const broken = changed((t) => {
        parts(t, Q, 64, true);
        change(t);
      });
      await saveWhole(folder, broken);
      assertStringIncludes(await refusal(folder), part);
    }
  }));

Deno.test("an index that does not fit its shards is refused", () =>
  withFolder(async (folder) => {
    const map = await saveSharded(folder, tinyTensors());
    const [first = "", second = ""] = SHARDS;
    const { [Q]: _, ...without } = map;
    const cases: [unknown, string][] = [
      [{ ...map, [Q]: second }, `expected tensor '${Q}' in ${second}`],
      [{ ...map, ghost: first }, "in no shard"],
      [without, "missing in weight_map"],
      [{ ...map, [Q]: "model-00003.safetensors" }, "found nothing"],
      [{ ...map, [Q]: `../${first}` }, "found nothing"],
      [{ ...map, [Q]: 7 }, "weight_map"],
      [[], "weight_map"],
      [null, "weight_map"],
      [{}, "missing 12"],
    ];
    for (const [weightMap, part] of cases) {
      await saveIndex(folder, weightMap);
      assertStringIncludes(await refusal(folder), part);
    }
    const { ["lm_head.weight"]: __, ...listed } = map;
    await saveIndex(folder, { ...map, "model.layers.0.self_attn.rotary_emb.inv_freq": first });
    (await openCheckpoint(folder, ARCHITECTURE))[Symbol.dispose](); // follows from others: not missed
    await saveIndex(folder, listed);
    assertStringIncludes(await refusal(folder), "'lm_head.weight'");
    const twice = JSON.stringify({ weight_map: map }).replace("{", `{"weight_map":{},`);
    await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, twice);
    assertStringIncludes(await refusal(folder), "'weight_map' twice");
    await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, "{");
    assertStringIncludes(await refusal(folder), "expected JSON");
    await saveIndex(folder, map);
    await Deno.copyFile(`${folder}/${first}`, `${folder}/${second}`);
    assertStringIncludes(await refusal(folder), "is also in");
  }));

/** A header as an object that mutations take apart. */
type Entries = Record<string, unknown>;

const VALUES: readonly unknown[] = [
  null,
  true,
  "",
  "F31",
  "U8",
  -1,
  0,
  1,
  1.5,
  2 ** 31,
  2 ** 53,
  1e308,
  [],
  [0],
  [-1, 4],
  {},
  [[]],
  [2 ** 52, 2 ** 52],
  [0, 1e300],
  ["0", "4"],
];

/** One change to a header, as an object or as text. */
function mutateHeader(entries: Entries, random: Random): string {
  const names = Object.keys(entries);
  const name = pick(random, names);
  const entry = { ...entries[name] as Entries };
  const offsets = [...(entry["data_offsets"] as number[] | undefined ?? [0, 0])];
  const shift = randomInt(random, 9) - 4;
  switch (randomInt(random, 10)) {
    case 0:
      delete entries[name];
      break;
    case 1:
      entries[name] = pick(random, VALUES);
      break;
    case 2: {
      const key = pick(random, ["shape", "data_offsets", "dtype", "extra"]);
      entries[name] = { ...entry, [key]: pick(random, VALUES) };
      break;
    }
    case 3:
      entries[name] = { ...entry, data_offsets: offsets.map((o) => o + shift) };
      break;
    case 4:
      offsets[randomInt(random, 2)] = randomInt(random, 2000);
      entries[name] = { ...entry, data_offsets: offsets };
      break;
    case 5:
      entries[pick(random, ["__proto__x", "__metadata__", Q, "model.x"])] = entry;
      break;
    case 6:
      return JSON.stringify(entries).replace("{", `{${JSON.stringify(name)}:{},`);
    case 7:
      return `${"[".repeat(randomInt(random, 50_000))}${JSON.stringify(entries)}`;
    case 8:
      return JSON.stringify(entries).replaceAll('"shape"', pick(random, ['"\\u0073hape"', '"sh"']));
    default:
      return JSON.stringify(entries) + pick(random, ["", " ", "x", "}", "\0", "\n"]);
  }
  return JSON.stringify(entries);
}

/** Bytes changed, cut off or added anywhere: length field, header or data's end. */
function mutateBytes(
  file: Uint8Array<ArrayBuffer>,
  headerEnd: number,
  random: Random,
): Uint8Array<ArrayBuffer> {
  const copy = file.slice();
  switch (randomInt(random, 4)) {
    case 0:
      return copy.subarray(0, randomInt(random, copy.length));
    case 1:
      return new Uint8Array([...copy, ...copy.subarray(0, 1 + randomInt(random, 9))]);
    case 2:
      copy[randomInt(random, 8)] = randomInt(random, 256);
      return copy;
    default:
      for (let i = 0; i <= randomInt(random, 3); i++) {
        copy[8 + randomInt(random, headerEnd - 8)] = randomInt(random, 256);
      }
      return copy;
  }
}

/** What is read of a folder: every tensor's dtype, shape and bytes by name. */
async function contents(folder: string): Promise<Map<string, string>> {
  using checkpoint = await openCheckpoint(folder, ARCHITECTURE);
  const read = new Map<string, string>();
  for (const { file, info } of checkpoint.tensors) {
    const { data } = await file.read(info.name);
    read.set(info.name, `${info.dtype} [${info.shape}] ${data.toHex()}`);
  }
  return read;
}

Deno.test("3,000 damaged headers: a typed error, or the same tensors", () =>
  withFolder(async (folder) => {
    const random = seededRandom(20);
    const path = `${folder}/model.safetensors`;
    await saveWhole(folder, tinyTensors());
    const file = await Deno.readFile(path);
    const wanted = await contents(folder);
    const headerEnd = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
    const header = new TextDecoder().decode(file.subarray(8, headerEnd));
    let accepted = 0;
    for (let i = 0; i < 3000; i++) {
      const broken = i % 2 === 0
        ? fileWith(mutateHeader(JSON.parse(header), random), file.subarray(headerEnd))
        : mutateBytes(file, headerEnd, random);
      await Deno.writeFile(path, broken);
      try {
        assertEquals(await contents(folder), wanted);
        accepted++;
      } catch (error) {
        if (!isTyped(error)) throw new Error(`mutation ${i}: ${error}`, { cause: error });
      }
    }
    // White space and untouched files are fine; most damage is not.
    assert(accepted > 0 && accepted < 600, `${accepted} of 3000 accepted`);
  }));

Deno.test("1,000 damaged indices: a typed error, or the same tensors", () =>
  withFolder(async (folder) => {
    const random = seededRandom(21);
    const path = `${folder}/model.safetensors.index.json`;
    await saveSharded(folder, tinyTensors());
    const text = await Deno.readTextFile(path);
    const wanted = await contents(folder);
    let refused = 0;
    for (let i = 0; i < 1000; i++) {
      const at = randomInt(random, text.length);
      const length = randomInt(random, 4);
      const byte = pick(random, ["", '"', "{", "}", "x", "/", "..", "\0", "1", ",", "\\"]);
      await Deno.writeTextFile(path, text.slice(0, at) + byte + text.slice(at + length));
      try {
        assertEquals(await contents(folder), wanted);
      } catch (error) {
        if (!isTyped(error)) throw new Error(`mutation ${i}: ${error}`, { cause: error });
        refused++;
      }
    }
    assert(refused > 600, `${refused} of 1000 refused`);
  }));

Deno.test("a header that claims an absurd size is refused without reading it", () =>
  withFolder(async (folder) => {
    const path = `${folder}/model.safetensors`;
    const huge = (shape: number[], bytes: number) =>
      fileWith(
        JSON.stringify({ x: { dtype: "F32", shape, data_offsets: [0, bytes] } }),
        new Uint8Array(16),
      );
    for (
      const [shape, bytes] of [[[2 ** 40], 2 ** 42], [[2 ** 31, 2 ** 31], 2 ** 53 - 1]] as const
    ) {
      await Deno.writeFile(path, huge([...shape], bytes));
      await refusal(folder);
    }
    // A sparse file may be as long as its header says: its tensor is not of this model.
    await Deno.writeFile(path, huge([2 ** 38], 2 ** 40).subarray(0, -16));
    const header = (await Deno.stat(path)).size;
    await Deno.truncate(path, header + 2 ** 40);
    assertStringIncludes(await refusal(folder), "surplus tensor 'x'");
  }));
