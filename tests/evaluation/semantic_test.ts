import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { resolveConfig } from "@lib/config.ts";
import { embedTexts } from "@lib/evaluation/embedding/encoder.ts";
import { EncoderError, openEncoderFolder } from "@lib/evaluation/embedding/encoder_folder.ts";
import { evaluateAnswers } from "@lib/evaluation/evaluate.ts";
import { measureSimilarity, otherPlaces, similaritySignature } from "@lib/evaluation/semantic.ts";
import { missingFiles } from "@lib/weights/hub/cached.ts";
import { HubError } from "@lib/weights/hub/error.ts";
import { selectFiles } from "@lib/weights/hub/selection.ts";
import { hubSettings } from "@lib/weights/hub/settings.ts";
import { findEncoder } from "@lib/workflow/semantic.ts";
import { FakeHub } from "../weights/hub_server.ts";
import golden from "../golden/encoder/vectors.json" with { type: "json" };

const FOLDER = decodeURIComponent(
  new URL("../golden/encoder/tiny-encoder", import.meta.url).pathname,
);
const POOLED = { pooling: "mean", head: null, prefix: "" } as const;
/** The tiny encoder does not say how it pools; a known name does. */
const encoder = await openEncoderFolder(FOLDER, "tiny multilingual-e5");

/** Whether the encoder's packages are here or can be fetched; anything else that fails is a failure. */
async function packagesAreHere(): Promise<boolean> {
  try {
    await embedTexts({ ...encoder, ...POOLED }, ["মন"]);
    return true;
  } catch (error) {
    const text = String(error);
    const unreachable = /error sending request|dns error|tcp connect|not found in cache|timed out/i;
    if (!unreachable.test(text)) throw error;
    console.log("Skipped: the encoder's packages are not here and npm cannot be reached.");
    return false;
  }
}
const ignore = !await packagesAreHere();

Deno.test("vectors are those of Python's onnxruntime, by mean, first token and dense head", {
  ignore,
}, async () => {
  const variants = [
    ["mean", { pooling: "mean", head: null }],
    ["cls", { pooling: "cls", head: null }],
    ["cls_dense", { pooling: "cls", head: encoder.head }],
  ] as const;
  assert(encoder.head !== null);
  for (const [name, variant] of variants) {
    let done = 0;
    const onProgress = (count: number) => done = count;
    const vectors = await embedTexts({ ...encoder, prefix: "", ...variant }, golden.texts, {
      onProgress,
    });
    assertEquals([vectors.length, done], [golden.texts.length, golden.texts.length]);
    vectors.forEach((vector, i) => {
      const expected = golden.vectors[i]?.[name] ?? [];
      assertEquals(vector.length, expected.length);
      vector.forEach((value, j) => {
        assertAlmostEquals(value, expected[j] ?? NaN, 1e-5, `${name}: ${golden.texts[i]}`);
      });
    });
  }
  assert(golden.vectors.some(({ tokens }) => tokens === 64), "a text that is cut");
});

Deno.test("similarity is 1 to the same text, 0 for an empty answer, lower to another's", {
  ignore,
}, async () => {
  const references = golden.texts.filter((text) => text !== "");
  const groups = references.map((_, i) => Math.floor(i / 2));
  const answers = new Map([
    ["same", references],
    ["empty", references.map(() => " ")],
    ["respelt", references.map((text) => text.replaceAll("ড়", "\u09dc"))],
  ]);
  const found = await measureSimilarity(encoder, { answers, references, groups });
  for (const name of ["same", "respelt"]) {
    for (const { reference, floor } of found.get(name) ?? []) {
      assertAlmostEquals(reference, 1, 1e-5);
      assert(floor !== null && floor < 0.999);
    }
  }
  assert(found.get("empty")?.every(({ reference, floor }) => reference === 0 && floor === 0));
  const { report } = evaluateAnswers(references.map((reference, i) => ({
    ...{ group: groups[i] ?? 0, question: "মন ভালো নেই।", reference, hypothesis: reference },
    similarity: found.get("same")?.[i] ?? null,
  })));
  const { semantic, semantic_floor: floor } = report.metrics;
  assertAlmostEquals(semantic.value ?? 0, 1, 1e-5);
  assert((floor.low ?? 1) < (floor.value ?? 0) && (floor.value ?? 1) < (floor.high ?? 0));
});

Deno.test("an encoder that cannot run says why; an aborted one stops", { ignore }, async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
      await Deno.copyFile(`${FOLDER}/${file}`, `${folder}/${file}`);
    }
    await Deno.mkdir(`${folder}/onnx`);
    await Deno.writeTextFile(`${folder}/onnx/model.onnx`, "no graph");
    const broken = await openEncoderFolder(folder, "multilingual-e5-broken");
    const error = await assertRejects(() => embedTexts(broken, ["মন"]), EncoderError);
    assertStringIncludes(error.message, "multilingual-e5-broken: expected 1 vectors, found 0");
    assertStringIncludes(error.message, "model.onnx");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const signal = AbortSignal.abort(new Error("stopped by the test"));
  await assertRejects(() => embedTexts(encoder, ["মন"], { signal }), Error, "stopped by the test");
});

Deno.test("every item meets another group's reference, each reference once", () => {
  const groups = Array.from({ length: 101 }, (_, i) => i % 7 === 0 ? "large" : `g${i % 40}`);
  const places = otherPlaces(groups) ?? [];
  assertEquals(new Set(places).size, groups.length);
  assert(places.every((place, i) => groups[place] !== groups[i]));
  assertEquals(otherPlaces(groups), places, "one seed, one order");
  assert(otherPlaces(groups, 1)?.some((place, i) => place !== places[i]));
  assertEquals(otherPlaces(["a", "a", "b"]), null);
  assertEquals(otherPlaces([]), null);
});

Deno.test("folders say how they pool, known models are known, others are refused", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await assertRejects(() => openEncoderFolder(folder, "x"), EncoderError, "config.json");
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
      await Deno.writeTextFile(`${folder}/${file}`, "{}");
    }
    await assertRejects(() => openEncoderFolder(folder, "x"), EncoderError, "onnx/model.onnx");
    await Deno.mkdir(`${folder}/onnx`);
    await Deno.writeTextFile(`${folder}/onnx/model_quantized.onnx`, "");
    await assertRejects(() => openEncoderFolder(folder, "x"), EncoderError, "1_Pooling");
    await assertRejects(() => openEncoderFolder(folder, "Xenova/LaBSE"), EncoderError, "dense");
    const e5 = await openEncoderFolder(folder, "Xenova/multilingual-e5-small");
    assertEquals([e5.pooling, e5.prefix, e5.graph], ["mean", "query: ", "model_quantized"]);
    await Deno.mkdir(`${folder}/1_Pooling`);
    const pooling = { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false };
    await Deno.writeTextFile(`${folder}/1_Pooling/config.json`, JSON.stringify(pooling));
    const own = await openEncoderFolder(folder, "sentence-transformers/LaBSE");
    assertEquals([own.pooling, own.prefix, own.head], ["cls", "", null]);
    assertStringIncludes(similaritySignature(own), "pool:cls|dense:no|prefix:none");
    await Deno.mkdir(`${folder}/2_Dense`);
    const dense = { in_features: 2, out_features: 2, activation_function: "torch.nn.ReLU" };
    await Deno.writeTextFile(`${folder}/2_Dense/config.json`, JSON.stringify(dense));
    await assertRejects(() => openEncoderFolder(folder, "x"), EncoderError, "torch.nn.ReLU");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("without an encoder on the machine one line says how to get one", async () => {
  const cache = await Deno.makeTempDir();
  try {
    const settings = { ...hubSettings((name) => name === "HOME" ? cache : undefined), cache };
    const none = await findEncoder(resolveConfig(), settings);
    const reason = none.encoder === null ? none.reason : "";
    assertStringIncludes(reason, "deno task model Xenova/multilingual-e5-small");
    assertEquals(reason.includes("\n"), false);
    const snapshot = `${cache}/models--Xenova--multilingual-e5-small/snapshots/${"a".repeat(40)}`;
    await Deno.mkdir(`${snapshot}/onnx`, { recursive: true });
    for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
      await Deno.copyFile(`${FOLDER}/${file}`, `${snapshot}/${file}`);
    }
    await Deno.copyFile(`${FOLDER}/onnx/model.onnx`, `${snapshot}/onnx/model.onnx`);
    const found = await findEncoder(resolveConfig(), settings);
    assertEquals(found.encoder?.folder, snapshot);
    assertEquals(await missingFiles(snapshot, "e5"), []);
    const set = [`evaluation.semantic_model=${cache}`];
    assert((await findEncoder(resolveConfig({ set }), settings)).encoder === null);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

Deno.test("of a repository without safetensors the ONNX file is fetched", () => {
  const small = ["config.json", "tokenizer.json", "tokenizer_config.json"];
  const file = (path: string) => ({ path, bytes: 1, hash: { kind: "git", hex: "0" } as const });
  const select = (...paths: string[]) =>
    selectFiles({ name: "a/b", commit: "c", files: [...small, ...paths].map(file) });
  const chosen = select("onnx/model.onnx", "onnx/model_quantized.onnx", "1_Pooling/config.json");
  assertEquals(chosen.weights?.map(({ path }) => path), ["onnx/model.onnx"]);
  assertEquals(chosen.small.at(-1)?.path, "1_Pooling/config.json");
  const both = select("onnx/model.onnx", "model.safetensors");
  assertEquals(both.weights?.map(({ path }) => path), ["model.safetensors"]);
  const error = (() => {
    try {
      return select("onnx/model_fp16.onnx");
    } catch (thrown) {
      return thrown;
    }
  })();
  assert(error instanceof HubError);
});

Deno.test("an encoder fetched from a hub is found in its cache and runs", { ignore }, async () => {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const names = ["config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"];
  for (const name of names) files.set(name, await Deno.readFile(`${FOLDER}/${name}`));
  const pooling = JSON.stringify({ pooling_mode_mean_tokens: true });
  files.set("1_Pooling/config.json", new TextEncoder().encode(pooling));
  files.set("onnx/model_fp16.onnx", new Uint8Array(10));
  await using hub = await FakeHub.start(files);
  const fetched = await hub.fetch();
  const set = [`evaluation.semantic_model=${fetched.name}`];
  const { encoder: found } = await findEncoder(resolveConfig({ set }), hub.settings);
  assertEquals([found?.folder, found?.name, found?.pooling], [
    hub.snapshot,
    "owner/tiny-model",
    "mean",
  ]);
  assertEquals(hub.ranges("onnx/model_fp16.onnx"), []);
  const [vector] = await embedTexts(found!, [golden.texts[0] ?? ""]);
  vector?.forEach((value, j) => {
    assertAlmostEquals(value, golden.vectors[0]?.mean[j] ?? NaN, 1e-5);
  });
});
