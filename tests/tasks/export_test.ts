import { assertEquals, assertStringIncludes } from "@std/assert";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Runs the task as a user does, its outputs in a folder of its own. */
async function exportTask(
  outputs: string,
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "export", "--run", "t", "--profile=tiny", ...args],
    cwd: ROOT,
    env: { QLORA_OUTPUTS: outputs, NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

Deno.test("export writes merged weights, GGUF, adapter and Modelfiles, and says what to know", async () => {
  const outputs = await Deno.makeTempDir();
  try {
    const adapter = "--adapter=tests/golden/adapters/list";
    const all = await exportTask(outputs, adapter, "--type", "q8_0", "--json");
    assertEquals(all.code, 0, all.stderr);
    const report = JSON.parse(all.stdout);
    assertEquals(report.files, [
      "adapter-f32.gguf",
      "Modelfile.adapter",
      "merged/",
      "model-q8_0.gguf",
      "Modelfile",
    ]);
    assertStringIncludes(all.stderr, "granite-embed-multi-97m");
    const names = [...Deno.readDirSync(`${outputs}/t/export`)].map((entry) => entry.name).sort();
    assertEquals(names, [
      "Modelfile",
      "Modelfile.adapter",
      "adapter-f32.gguf",
      "merged",
      "model-q8_0.gguf",
    ]);
    const modelfile = await Deno.readTextFile(`${outputs}/t/export/Modelfile`);
    for (const part of ["FROM ./model-q8_0.gguf\n", 'PARAMETER stop "<|eot_id|>"', "mit: the"]) {
      assertStringIncludes(modelfile, part);
    }
    assertStringIncludes(modelfile, 'SYSTEM """আপনি একজন সহানুভূতিশীল');
    const one = await exportTask(outputs, adapter, "--to", "gguf-adapter", "--out", `${outputs}/o`);
    assertEquals(one.code, 0, one.stderr);
    const files = [...Deno.readDirSync(`${outputs}/o`)].map((entry) => entry.name).sort();
    assertEquals(files, ["Modelfile.adapter", "adapter-f32.gguf"]);
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
});

Deno.test("export refuses a run without an adapter and values it has not", async () => {
  const outputs = await Deno.makeTempDir();
  try {
    const none = await exportTask(outputs);
    assertEquals(none.code, 1);
    assertStringIncludes(none.stderr, "deno task train");
    const format = await exportTask(outputs, "--to", "onnx");
    assertEquals(format.code, 2);
    assertStringIncludes(format.stderr, "safetensors, gguf, gguf-adapter, all");
    const type = await exportTask(outputs, "--type", "q4_k");
    assertEquals(type.code, 2);
    assertStringIncludes(type.stderr, "q8_0");
  } finally {
    await Deno.remove(outputs, { recursive: true });
  }
});
