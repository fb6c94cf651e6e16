import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { libraryFileName, libraryFolder, loadRemedy } from "@lib/engine/library.ts";
import { STRUCT_SIZES } from "@lib/engine/structs.ts";
import { SYMBOLS } from "@lib/engine/symbols.ts";
import { findCompiler } from "@lib/build/toolchain.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const onLinux = Deno.build.os === "linux";

/** A C source with every function of the header; `describe` fails with this message. */
function standIn(message: string): string {
  const functions = Object.keys(SYMBOLS).map((name) => {
    if (name === "qlora_abi_version") return `int ${name}(void) { return 1; }`;
    if (name in STRUCT_SIZES) {
      const { size } = STRUCT_SIZES[name as keyof typeof STRUCT_SIZES];
      return `int ${name}(void) { return ${size}; }`;
    }
    if (name !== "qlora_library_describe") return `int ${name}(void) { return 9; }`;
    return `int ${name}(char* buffer, long long capacity, long long* length) {
      const char* text = ${JSON.stringify(JSON.stringify({ error: message }))};
      long long n = 0;
      for (; text[n] && n < capacity - 1; ++n) buffer[n] = text[n];
      buffer[n] = 0;
      *length = n;
      return 7;
    }`;
  });
  return functions.join("\n");
}

async function compile(args: readonly string[]): Promise<void> {
  const compiler = await findCompiler();
  if (compiler === null) throw new Error("Expected the compiler that built the CPU library");
  const { success, stderr } = await new Deno.Command(compiler.command, {
    args: ["-x", "c", "-shared", "-fPIC", "-w", ...args],
    stderr: "piped",
  }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** Loads the engine in a process of its own, from `folder`; gives what it took and why. */
async function loadFrom(folder: string): Promise<{ backend: string; reason: string }> {
  const code = `
    import { loadLibrary } from "${new URL("../../lib/engine/library.ts", import.meta.url)}";
    const { description, reason } = loadLibrary();
    console.log(JSON.stringify({ backend: description.backend, reason }));`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--ext=ts", `--config=${ROOT}deno.json`, code],
    cwd: ROOT,
    env: { QLORA_LIBRARY_DIR: folder, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert(text.startsWith("{"), new TextDecoder().decode(stderr));
  return JSON.parse(text);
}

/** A folder with the CPU library, and whatever `addCuda` puts beside it. */
async function withLibraries(
  addCuda: (folder: string) => Promise<void>,
  check: (loaded: { backend: string; reason: string }) => void,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const cpu = libraryFileName("cpu");
    await Deno.copyFile(new URL(cpu, libraryFolder()), `${folder}/${cpu}`);
    await addCuda(folder);
    check(await loadFrom(folder));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("without a CUDA build the CPU is taken and says so", async () => {
  await withLibraries(() => Promise.resolve(), ({ backend, reason }) => {
    assertEquals({ backend, reason }, { backend: "cpu", reason: "no CUDA build is here" });
  });
});

Deno.test("a CUDA build that finds no driver leaves the CPU, with its own words", {
  ignore: !onLinux,
}, async () => {
  const message = "no NVIDIA driver is installed; install one that supports CUDA 13.0";
  await withLibraries(async (folder) => {
    await Deno.writeTextFile(`${folder}/cuda.c`, standIn(message));
    await compile([`${folder}/cuda.c`, "-o", `${folder}/${libraryFileName("cuda")}`]);
  }, ({ backend, reason }) => {
    assertEquals(backend, "cpu");
    assertStringIncludes(reason, `the CUDA build cannot be used: ${message}`);
  });
});

Deno.test("a CUDA build without its cuBLASLt leaves the CPU and says what is missing", {
  ignore: !onLinux,
}, async () => {
  await withLibraries(async (folder) => {
    await Deno.writeTextFile(`${folder}/blas.c`, "int cublasLtCreate(void) { return 0; }\n");
    const blas = `${folder}/libcublasLt.so.13`;
    await compile([`${folder}/blas.c`, "-Wl,-soname,libcublasLt.so.13", "-o", blas]);
    await Deno.writeTextFile(
      `${folder}/cuda.c`,
      `int cublasLtCreate(void);\n${standIn("unreached")}\n` +
        "int needs_blas(void) { return cublasLtCreate(); }\n",
    );
    const cuda = `${folder}/${libraryFileName("cuda")}`;
    await compile([`${folder}/cuda.c`, "-x", "none", blas, "-o", cuda]);
    await Deno.remove(blas);
  }, ({ backend, reason }) => {
    assertEquals(backend, "cpu");
    assertMatch(reason, /libcublasLt\.so\.13/);
    assertMatch(reason, /needs cuBLASLt .*LD_LIBRARY_PATH/);
  });
});

Deno.test("each system is told where it looks for cuBLASLt", () => {
  assertMatch(loadRemedy("cuda", "The specified module could not be found", "windows"), /on PATH/);
  assertMatch(loadRemedy("cuda", "libcublasLt.so.13: not found", "linux"), /LD_LIBRARY_PATH/);
  assertEquals(/cuBLAS/.test(loadRemedy("cuda", "wrong ELF class", "linux")), false);
  assertEquals(/cuBLAS/.test(loadRemedy("cpu", "not found", "windows")), false);
});
