import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { saveJson } from "@lib/files.ts";
import { loadModel, type LoadProgress } from "@lib/weights/folder.ts";
import {
  SafetensorsFile,
  saveSafetensors,
  type TensorData,
  toFloat32,
} from "@lib/weights/safetensors.ts";
import { saveWhole, tinyTensors, withFolder } from "./checkpoint_fixture.ts";

const GOLDEN = decodeURIComponent(new URL("../golden", import.meta.url).pathname);

Deno.test("fp16, fp32 and bf16 files of the same values load as the same model", () =>
  withFolder(async (folder) => {
    const name = "model.layers.0.mlp.up_proj.weight";
    const load = async () => {
      await using model = await loadModel(folder, { backend: "cpu" });
      return [
        await model.readTensor(name, 96),
        await model.readTensor("model.embed_tokens.weight", 80),
      ];
    };
    const bf16 = tinyTensors();
    const values = new Map([...bf16].map(([key, { data, shape }]) => {
      return [key, { shape, data: toFloat32(data as Uint8Array<ArrayBuffer>, "BF16") }];
    }));
    await saveWhole(folder, bf16);
    const wanted = await load();
    const f32 = new Map([...values].map(([key, t]) => [key, { ...t, dtype: "F32" } as const]));
    await saveWhole(folder, f32);
    assertEquals(await load(), wanted);
    const f16 = new Map([...values].map(([key, { shape, data }]) => {
      const bytes = new Uint8Array(new Float16Array(data).buffer);
      return [key, { shape, dtype: "F16", data: bytes } as const];
    }));
    await saveWhole(folder, f16);
    assertEquals(await load(), wanted);
  }));

Deno.test("progress rises to the whole, and a cancelled load ends with the signal's reason", () =>
  withFolder(async (folder) => {
    await saveWhole(folder, tinyTensors());
    const seen: LoadProgress[] = [];
    await using _model = await loadModel(folder, {
      backend: "cpu",
      onProgress: (progress) => seen.push(progress),
    });
    assertEquals(seen.length, 12);
    assert(seen.every(({ bytesDone }, i) => bytesDone > (seen[i - 1]?.bytesDone ?? 0)));
    assertEquals(seen.at(-1)?.bytesDone, seen.at(-1)?.bytesTotal);
    const controller = new AbortController();
    const reason = new Error("enough");
    const cancelled = loadModel(folder, {
      backend: "cpu",
      signal: controller.signal,
      onProgress: ({ tensor }) => tensor.includes("k_proj") && controller.abort(reason),
    });
    assertEquals(await assertRejects(() => cancelled), reason);
  }));

Deno.test("a bitsandbytes NF4 checkpoint is taken as it is", () =>
  withFolder(async (folder) => {
    using golden = await SafetensorsFile.open(`${GOLDEN}/llama_nf4_double.safetensors`);
    const c = JSON.parse(await Deno.readTextFile(`${GOLDEN}/llama_nf4_double.json`));
    const tensors = new Map<string, TensorData>();
    for (const prefix of ["base.", "bnb."]) {
      for (const name of golden.header.tensors.keys()) {
        if (!name.startsWith(prefix)) continue;
        const { info, data } = await golden.read(name);
        tensors.set(name.slice(prefix.length), { ...info, data });
      }
    }
    await saveSafetensors(`${folder}/model.safetensors`, tensors);
    await saveJson(`${folder}/config.json`, {
      model_type: "llama",
      hidden_size: c.hidden,
      intermediate_size: c.ffn,
      num_hidden_layers: c.layers,
      num_attention_heads: c.heads,
      num_key_value_heads: c.kv_heads,
      head_dim: c.head_dim,
      vocab_size: c.vocab,
      max_position_embeddings: c.max_position,
      rms_norm_eps: c.eps,
      rope_theta: c.rope_theta,
      tie_word_embeddings: c.tied,
      quantization_config: {
        quant_method: "bitsandbytes",
        load_in_4bit: true,
        bnb_4bit_quant_type: "nf4",
      },
    });
    await using model = await loadModel(folder, { backend: "cpu" });
    assertEquals(model.quantization, "nf4_double");
    for (const name of golden.header.tensors.keys()) {
      if (!name.startsWith("dequantized.")) continue;
      const { info, data } = await golden.read(name);
      const wanted = toFloat32(data, info.dtype);
      const found = await model.readTensor(name.slice("dequantized.".length), wanted.length);
      for (const [i, value] of wanted.entries()) assertAlmostEquals(found[i] ?? NaN, value, 1e-6);
    }
  }));

interface Measured {
  readonly growth: number;
  readonly modelBytes: number;
  readonly checkpointBytes: number;
  readonly seconds: number;
}

Deno.test({
  name: "420 MB of bf16 pass through a process that grows by the model and two buffers",
  ignore: Deno.build.os !== "linux", // the peak is read from /proc
  fn: async () => {
    const script = decodeURIComponent(new URL("measure_load.ts", import.meta.url).pathname);
    const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", script],
      stdout: "piped",
      stderr: "piped",
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const measured: Measured = JSON.parse(new TextDecoder().decode(stdout));
    const extra = measured.growth - measured.modelBytes;
    assert(measured.checkpointBytes > 400e6, `${measured.checkpointBytes} bytes only`);
    assert(extra < 120e6, `grew ${extra} bytes beyond the model: ${JSON.stringify(measured)}`);
  },
});
