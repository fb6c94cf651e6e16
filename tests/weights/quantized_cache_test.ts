import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Model } from "@lib/engine/model.ts";
import { loadModelCached } from "@lib/weights/cached_load.ts";
import { loadModel } from "@lib/weights/folder.ts";
import { SafetensorsFile } from "@lib/weights/safetensors.ts";
import { saveSharded, saveWhole, tinyTensors, withFolder } from "./checkpoint_fixture.ts";

const Q = "model.layers.0.self_attn.q_proj.weight";
const QUANTIZATIONS = ["nf4", "nf4_double"] as const;

interface Loaded {
  readonly values: number[];
  readonly said: string[];
}

async function valuesOf(model: Model): Promise<number[]> {
  return [
    ...await model.readTensor(Q, 64),
    ...await model.readTensor("model.layers.0.mlp.down_proj.weight", 96),
    ...await model.readTensor("model.embed_tokens.weight", 80),
    ...await model.readTensor("model.norm.weight", 8),
  ];
}

async function load(folder: string, options = {}): Promise<Loaded> {
  const said: string[] = [];
  await using model = await loadModelCached(folder, {
    backend: "cpu",
    cache: `${folder}/copies`,
    worthwhileBytes: 0,
    onMessage: (line) => said.push(line),
    ...options,
  });
  return { values: await valuesOf(model), said };
}

async function copies(folder: string): Promise<string[]> {
  const paths = [];
  for await (const { name } of Deno.readDir(`${folder}/copies`)) paths.push(name);
  return paths.sort().map((name) => `${folder}/copies/${name}`);
}

Deno.test("the copy is the same model, and is read instead of the checkpoint", () =>
  withFolder(async (folder) => {
    await saveSharded(folder, tinyTensors());
    for (const quantization of QUANTIZATIONS) {
      await using plain = await loadModel(folder, { backend: "cpu", quantization });
      const wanted = await valuesOf(plain);
      const first = await load(folder, { quantization });
      assertStringIncludes(first.said.join(), "Kept");
      assertEquals(first.values, wanted);
      const second = await load(folder, { quantization });
      assertEquals(second, { values: wanted, said: [] });
    }
    const paths = await copies(folder);
    assertEquals(paths.length, 2); // one a quantisation, and nothing half written
    using copy = await SafetensorsFile.open(paths[0] ?? "");
    assertEquals(copy.header.metadata["format"], "qlora-quantized-cache");
    assert(copy.header.tensors.has(`${Q}.absmax`));
  }));

Deno.test("no weight of the checkpoint is read when there is a copy", () =>
  withFolder(async (folder) => {
    const path = `${folder}/model.safetensors`;
    await saveWhole(folder, tinyTensors());
    const { values } = await load(folder);
    const mtime = (await Deno.stat(path)).mtime ?? 0;
    await saveWhole(folder, tinyTensors(2)); // other weights; their sizes and the time are the same
    await Deno.utime(path, mtime, mtime);
    assertEquals(await load(folder), { values, said: [] });
  }));

Deno.test("a copy of a checkpoint that has changed is made anew", () =>
  withFolder(async (folder) => {
    await saveWhole(folder, tinyTensors(1));
    const old = await load(folder);
    await saveWhole(folder, tinyTensors(2));
    await using plain = await loadModel(folder, { backend: "cpu" });
    const fresh = await load(folder);
    assertStringIncludes(fresh.said[0] ?? "", "has changed since");
    assertEquals(fresh.values, await valuesOf(plain));
    assert(fresh.values.some((value, i) => value !== old.values[i]));
    assertEquals((await load(folder)).said, []);
  }));

Deno.test("damage anywhere in a copy is noticed, and the copy made anew", () =>
  withFolder(async (folder) => {
    await saveWhole(folder, tinyTensors());
    const { values } = await load(folder);
    const [path = ""] = await copies(folder);
    const whole = await Deno.readFile(path);
    const begin = 8 + Number(new DataView(whole.buffer).getBigUint64(0, true));
    const step = Math.ceil(whole.length / 40);
    for (let at = 0; at < whole.length; at += step) {
      const damaged = whole.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 0x10;
      await Deno.writeFile(path, damaged);
      const again = await load(folder);
      assertEquals(again.values, values);
      assertStringIncludes(again.said.join(), "made anew", `byte ${at} of ${begin}`);
    }
    for (const length of [0, 7, begin - 1, begin, whole.length - 1]) {
      await Deno.writeFile(path, whole.subarray(0, length));
      const again = await load(folder);
      assertEquals(again.values, values);
      assertStringIncludes(again.said.join(), "made anew", `${length} bytes`);
    }
    assertEquals(await Deno.readFile(path), whole);
  }));

Deno.test("small, unquantised and 4-bit checkpoints get no copy", () =>
  withFolder(async (folder) => {
    await saveWhole(folder, tinyTensors());
    await load(folder, { worthwhileBytes: 1e6 });
    await load(folder, { quantization: "none" });
    await assertRejects(() => copies(folder), Deno.errors.NotFound);
    await load(folder);
    const [path = ""] = await copies(folder);
    await Deno.copyFile(path, `${folder}/model.safetensors`); // a copy is a bitsandbytes checkpoint
    await Deno.remove(`${folder}/copies`, { recursive: true });
    await load(folder);
    await assertRejects(() => copies(folder), Deno.errors.NotFound);
  }));

Deno.test("a copy that cannot be written is said, and the model is there all the same", () =>
  withFolder(async (folder) => {
    await saveWhole(folder, tinyTensors());
    await Deno.writeTextFile(`${folder}/file`, "");
    const { values, said } = await load(folder, { cache: `${folder}/file` });
    assertEquals(values.length, 248);
    assertStringIncludes(said.join(), "could not be written");
  }));

Deno.test("what a killed process left half written goes when the copy is made again", () =>
  withFolder(async (folder) => {
    await saveWhole(folder, tinyTensors());
    await load(folder);
    const [path = ""] = await copies(folder);
    await Deno.remove(path);
    for (const name of ["0ld", "new"]) await Deno.writeTextFile(`${path}.${name}.part`, "half");
    const hours = Date.now() / 1000 - 7200;
    await Deno.utime(`${path}.0ld.part`, hours, hours);
    await load(folder);
    assertEquals(await copies(folder), [path, `${path}.new.part`]);
  }));
