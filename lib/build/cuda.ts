/**
 * Builds the CUDA library into `.build/native/`, beside the CPU one. Whatever goes wrong here leaves
 * the CPU library as it is.
 */
import { libraryFileName, libraryFolder } from "@lib/engine/library.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists, saveJson } from "@lib/files.ts";
import type { OnPhase } from "@lib/phases.ts";
import { buildLines, runTool } from "@lib/build/command.ts";
import { hashSources, loadStamp } from "@lib/build/stamp.ts";
import { findCMake, findNvcc, findTool, type Tool } from "@lib/build/toolchain.ts";

/** Whether to build for CUDA: `auto` when nvcc and a GPU are here, `always` needs nvcc alone. */
export type CudaChoice = "auto" | "always" | "never";

/** What a CUDA build came to. */
export type CudaBuildResult =
  | { readonly state: "built" | "up to date"; readonly library: string; readonly compiler: string }
  | { readonly state: "skipped" | "failed"; readonly reason: string };

/** Sources the library is made of, relative to `native/`. */
const SOURCE_FOLDERS = ["include", "src", "cuda"];

/** Options of {@linkcode buildCuda}. */
export interface CudaOptions {
  readonly choice: CudaChoice;
  /** Build although nothing has changed. @default {false} */
  readonly force?: boolean;
  /** Called with a line now and then. */
  readonly onProgress?: (line: string) => void;
  /** Told how many files are compiled. */
  readonly onPhase?: OnPhase | undefined;
}

/**
 * Builds the CUDA library unless an identical build is there. A build that failed is not tried again
 * until a source changes or `force` is set.
 */
export async function buildCuda(options: CudaOptions): Promise<CudaBuildResult> {
  if (options.choice === "never") return { state: "skipped", reason: "not asked for" };
  const nvcc = await findNvcc();
  if (nvcc === null) return { state: "skipped", reason: "nvcc, the CUDA compiler, is not here" };
  if (options.choice === "auto" && await findGpu() === null) {
    return { state: "skipped", reason: "no NVIDIA GPU is here" };
  }
  const cmake = await findCMake();
  if (cmake === null) {
    return { state: "skipped", reason: "the CUDA build needs CMake with Ninja or Make" };
  }
  const folder = decodeURIComponent(libraryFolder().pathname);
  const library = `${folder}${libraryFileName("cuda")}`;
  const stampFile = `${folder}stamp-cuda.json`;
  const inputs = await hashSources(SOURCE_FOLDERS);
  const stamp = options.force === true ? null : await loadStamp(stampFile);
  if (stamp?.inputs === inputs && stamp.compiler === nvcc.version) {
    if (stamp.failure !== undefined) return { state: "failed", reason: stamp.failure };
    if (await exists(library)) return { state: "up to date", library, compiler: nvcc.version };
  }
  await Deno.mkdir(folder, { recursive: true });
  try {
    const fresh = await compile(cmake.cmake.command, cmake.generator, nvcc, options);
    await Deno.copyFile(fresh, `${library}.new`);
    await Deno.rename(`${library}.new`, library);
    await saveJson(stampFile, { inputs, compiler: nvcc.version });
    return { state: "built", library, compiler: nvcc.version };
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    await saveJson(stampFile, { inputs, compiler: nvcc.version, failure });
    return { state: "failed", reason: failure };
  }
}

/** nvidia-smi when the driver sees a GPU, else null. */
export async function findGpu(): Promise<Tool | null> {
  const tool = await findTool("nvidia-smi");
  if (tool === null) return null;
  try {
    const { success } = await new Deno.Command(tool.command, {
      args: ["-L"],
      stdout: "null",
      stderr: "null",
    }).output();
    return success ? tool : null;
  } catch {
    return null;
  }
}

/** @returns the library in the build folder */
async function compile(
  cmake: string,
  generator: string,
  nvcc: Tool,
  { onProgress, onPhase }: Pick<CudaOptions, "onProgress" | "onPhase">,
): Promise<string> {
  const build = `${PROJECT_ROOT}.build/cmake-cuda`;
  onProgress?.("configuring the CUDA library with CMake");
  await runTool(cmake, [
    "-S",
    `${PROJECT_ROOT}native`,
    "-B",
    build,
    "-DCMAKE_BUILD_TYPE=Release",
    "-DQLORA_CUDA=ON",
    `-DCMAKE_CUDA_COMPILER=${nvcc.command}`,
    ...(generator === "" || await exists(`${build}/CMakeCache.txt`) ? [] : ["-G", generator]),
  ], "Configuring the CUDA library");
  const jobs = String(navigator.hardwareConcurrency);
  await runTool(
    cmake,
    ["--build", build, "--config", "Release", "--target", "qlora_cuda", "--parallel", jobs],
    "Building the CUDA library",
    buildLines(onPhase, "compiling for CUDA"),
  );
  const name = libraryFileName("cuda");
  for (const place of [`${build}/${name}`, `${build}/Release/${name}`]) {
    if (await exists(place)) return place;
  }
  throw new Error(`The build succeeded but left no ${name} in ${build}. Run with --force.`);
}
