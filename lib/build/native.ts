/**
 * Builds the native libraries into `.build/native/`: the CPU one through CMake where it is installed
 * and by the compiler alone where it is not, the CUDA one where there is a GPU. A build whose inputs
 * have not changed is reused.
 */
import { libraryFileName, libraryFolder } from "@lib/engine/library.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists, saveJson } from "@lib/files.ts";
import type { OnPhase } from "@lib/phases.ts";
import { BuildError, buildLines, runTool } from "@lib/build/command.ts";
import { buildCuda, type CudaBuildResult, type CudaChoice } from "@lib/build/cuda.ts";
import { hashSources, listSources, loadStamp } from "@lib/build/stamp.ts";
import { findCMake, findCompiler, missingCompiler, type Tool } from "@lib/build/toolchain.ts";

export { BuildError };

/** What a build gave. */
export interface BuildResult {
  /** The CPU library. */
  readonly library: string;
  /** False: nothing had changed, the earlier build is used. */
  readonly built: boolean;
  readonly compiler: string;
  readonly seconds: number;
  readonly cuda: CudaBuildResult;
}

/** Options of {@linkcode buildNative}. */
export interface BuildOptions {
  /** Build although nothing has changed. @default {false} */
  readonly force?: boolean;
  /** Leave CMake aside. @default {false} */
  readonly withoutCMake?: boolean;
  /** Whether to build for CUDA as well. @default {"auto"} */
  readonly cuda?: CudaChoice;
  /** Called with a line now and then. */
  readonly onProgress?: (line: string) => void;
  /** Told how many files are compiled. */
  readonly onPhase?: OnPhase | undefined;
}

/** Sources the library is made of, relative to `native/`. */
const SOURCE_FOLDERS = ["include", "src", "cpu"];

/**
 * Builds the CPU library, and where there is a GPU the CUDA library, unless identical builds are
 * there. A CUDA build that fails is told in the result and leaves the CPU library usable.
 *
 * @throws {ToolchainError} no compiler, with the command that installs one
 * @throws {BuildError} the compiler's own words
 */
export async function buildNative(options: BuildOptions = {}): Promise<BuildResult> {
  const begun = performance.now();
  const cpu = await buildCpu(options);
  const cuda = await buildCuda({
    choice: options.cuda ?? "auto",
    force: options.force === true,
    onPhase: options.onPhase,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  });
  return { ...cpu, seconds: (performance.now() - begun) / 1000, cuda };
}

async function buildCpu(
  options: BuildOptions,
): Promise<Pick<BuildResult, "library" | "built" | "compiler">> {
  const compiler = await findCompiler();
  const useCMake = options.withoutCMake !== true ? await findCMake() : null;
  if (compiler === null && (useCMake === null || Deno.build.os !== "windows")) {
    throw await missingCompiler();
  }
  const folder = decodeURIComponent(libraryFolder().pathname);
  const library = `${folder}${libraryFileName("cpu")}`;
  const stamp = {
    inputs: await hashSources(SOURCE_FOLDERS),
    compiler: `${compiler?.version ?? "MSVC"} (${useCMake === null ? "direct" : "CMake"})`,
  };
  const stampFile = `${folder}stamp.json`;
  if (
    options.force !== true && await exists(library) &&
    (await loadStamp(stampFile))?.inputs === stamp.inputs
  ) {
    return { library, built: false, compiler: stamp.compiler };
  }
  await Deno.mkdir(folder, { recursive: true });
  const fresh = useCMake === null && compiler !== null
    ? await compileDirectly(compiler, options)
    : await compileWithCMake(
      useCMake?.cmake.command ?? "cmake",
      useCMake?.generator ?? "",
      options,
    );
  // A library that is loaded somewhere must not be overwritten in place.
  await Deno.copyFile(fresh, `${library}.new`);
  await Deno.rename(`${library}.new`, library);
  await saveJson(stampFile, stamp);
  return { library, built: true, compiler: stamp.compiler };
}

async function compileWithCMake(
  cmake: string,
  generator: string,
  options: BuildOptions,
): Promise<string> {
  const build = `${PROJECT_ROOT}.build/cmake`;
  options.onProgress?.("configuring with CMake");
  await runTool(cmake, [
    "-S",
    `${PROJECT_ROOT}native`,
    "-B",
    build,
    "-DCMAKE_BUILD_TYPE=Release",
    ...(generator === "" || await exists(`${build}/CMakeCache.txt`) ? [] : ["-G", generator]),
  ], "Configuring the native library");
  const jobs = String(navigator.hardwareConcurrency);
  await runTool(
    cmake,
    ["--build", build, "--config", "Release", "--target", "qlora_cpu", "--parallel", jobs],
    "Building the native library",
    buildLines(options.onPhase, "compiling"),
  );
  const name = libraryFileName("cpu");
  for (const place of [`${build}/${name}`, `${build}/Release/${name}`]) {
    if (await exists(place)) return place;
  }
  throw new BuildError(`The build succeeded but left no ${name} in ${build}. Run with --force.`);
}

/** Flags of an x86-64 build's sources, by name; the same as in cpu/sources.cmake. */
export function isaFlags(source: string): string[] {
  if (/_avx512\.cpp$/.test(source)) {
    return ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"];
  }
  if (/_avx2\.cpp$/.test(source)) return ["-mavx2", "-mfma"];
  return /(^|\/)kernels\.cpp$/.test(source) ? ["-DQLORA_X86_KERNELS"] : [];
}

async function compileDirectly(compiler: Tool, options: BuildOptions): Promise<string> {
  const objects = `${PROJECT_ROOT}.build/direct`;
  await Deno.mkdir(objects, { recursive: true });
  const sources = (await listSources(SOURCE_FOLDERS)).filter((name) => name.endsWith(".cpp"));
  const common = [
    "-std=c++17",
    "-O3",
    "-DNDEBUG",
    "-DQLORA_BUILD",
    `-DQLORA_VERSION="${await projectVersion()}"`,
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-ffp-contract=off",
    "-pthread",
    ...SOURCE_FOLDERS.map((folder) => `-I${PROJECT_ROOT}native/${folder}`),
  ];
  const made: string[] = [];
  const queue = [...sources];
  options.onPhase?.("compiling", 0, sources.length, "files");
  const worker = async () => {
    for (let source = queue.shift(); source !== undefined; source = queue.shift()) {
      const object = `${objects}/${source.replaceAll("/", "_")}.o`;
      const isa = Deno.build.arch === "x86_64" ? isaFlags(source) : [];
      const file = `${PROJECT_ROOT}native/${source}`;
      await runTool(compiler.command, [...common, ...isa, "-c", file, "-o", object], source);
      made.push(object);
      options.onPhase?.("compiling", made.length, sources.length, "files");
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, worker));
  const library = `${objects}/${libraryFileName("cpu")}`;
  const link = ["-shared", "-pthread", "-o", library, ...made.sort()];
  await runTool(compiler.command, link, "Linking the native library");
  return library;
}

/** The version in `project(qlora VERSION …)`, the one place it is written. */
async function projectVersion(): Promise<string> {
  const text = await Deno.readTextFile(`${PROJECT_ROOT}native/CMakeLists.txt`);
  return /project\(qlora VERSION ([\d.]+)/.exec(text)?.[1] ?? "unknown";
}
