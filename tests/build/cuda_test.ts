import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { buildCuda, findGpu } from "@lib/build/cuda.ts";
import { compileCuda, runCudaTests } from "@lib/build/cuda_tests.ts";
import { hashSources, listSources, loadStamp } from "@lib/build/stamp.ts";
import { findNvcc } from "@lib/build/toolchain.ts";

/** Runs `body` with `CUDACXX` set, as the one compiler looked for. */
async function withCompiler<T>(path: string, body: () => Promise<T>): Promise<T> {
  const before = Deno.env.get("CUDACXX");
  Deno.env.set("CUDACXX", path);
  try {
    return await body();
  } finally {
    if (before === undefined) Deno.env.delete("CUDACXX");
    else Deno.env.set("CUDACXX", before);
  }
}

Deno.test("without nvcc the CUDA build is skipped and says so", async () => {
  await withCompiler("/nowhere/nvcc", async () => {
    assertEquals(await findNvcc(), null);
    assertEquals(await buildCuda({ choice: "always" }), {
      state: "skipped",
      reason: "nvcc, the CUDA compiler, is not here",
    });
  });
});

Deno.test("a compiler that is asked for is taken with its release", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const folder = await Deno.makeTempDir();
  const fake = `${folder}/nvcc`;
  await Deno.writeTextFile(
    fake,
    "#!/bin/sh\necho first line\necho tools, release 13.0, V13.0.88\n",
  );
  await Deno.chmod(fake, 0o755);
  const found = await withCompiler(fake, findNvcc);
  assertEquals(found, { command: fake, version: "nvcc release 13.0, V13.0.88" });
  await Deno.remove(folder, { recursive: true });
});

Deno.test("each library's inputs are its own folders", async () => {
  const cuda = await listSources(["include", "src", "cuda"]);
  assert(cuda.includes("cuda/gemm.cpp") && cuda.includes("CMakeLists.txt"));
  assert(!cuda.some((name) => name.startsWith("cpu/")));
  assertEquals(cuda, cuda.toSorted());
  assertNotEquals(await hashSources(["src", "cuda"]), await hashSources(["src", "cpu"]));
});

Deno.test("a stamp that is absent or not a stamp asks for a build", async () => {
  const folder = await Deno.makeTempDir();
  assertEquals(await loadStamp(`${folder}/stamp.json`), null);
  await Deno.writeTextFile(`${folder}/stamp.json`, `{"inputs": 5}`);
  assertEquals(await loadStamp(`${folder}/stamp.json`), null);
  const stamp = { inputs: "a", compiler: "b", failure: "c" };
  await Deno.writeTextFile(`${folder}/stamp.json`, JSON.stringify(stamp));
  assertEquals(await loadStamp(`${folder}/stamp.json`), stamp);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("without nvcc nothing is compiled for CUDA, in one line", async () => {
  await withCompiler("/nowhere/nvcc", async () => {
    assertEquals(await compileCuda(), {
      compiled: false,
      note: "not compiled: nvcc, the CUDA compiler, is not here",
    });
  });
});

Deno.test("without a GPU the tests that need one are skipped in one line", async () => {
  if (await findGpu() !== null) return;
  assertEquals(await runCudaTests(), "no NVIDIA GPU is here");
});
