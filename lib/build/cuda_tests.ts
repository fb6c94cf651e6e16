/** The tests that need a GPU, and the compilation that does not. */
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { runTool } from "@lib/build/command.ts";
import { findGpu } from "@lib/build/cuda.ts";
import { findCMake, findNvcc } from "@lib/build/toolchain.ts";

/** Parts of the GPU tests, in their order; `native/tests/gpu.cmake` says what each is. */
export const CUDA_TEST_STAGES = ["native", "ptx", "wrong", "sanitizer"] as const;
export type CudaTestStage = (typeof CUDA_TEST_STAGES)[number];

/**
 * Runs `native/tests/gpu.cmake` on the terminal: every CUDA test for this GPU and from PTX of compute
 * capability 8.0, then compute-sanitizer; it ends with a table.
 *
 * @param stages those to run
 * @returns whether all passed, or in one line why there was nothing to run
 */
export async function runCudaTests(
  stages: readonly CudaTestStage[] = CUDA_TEST_STAGES,
): Promise<boolean | string> {
  if (await findGpu() === null) return "no NVIDIA GPU is here";
  const nvcc = await findNvcc();
  if (nvcc === null) return "nvcc, the CUDA compiler, is not here";
  const found = await findCMake();
  if (found === null) return "the CUDA build needs CMake with Ninja or Make";
  const { code } = await new Deno.Command(found.cmake.command, {
    args: [
      `-DBUILD=${PROJECT_ROOT}.build/cmake-gpu`,
      `-DSTAGES=${stages.join(";")}`,
      "-P",
      `${PROJECT_ROOT}native/tests/gpu.cmake`,
    ],
    env: { CUDACXX: nvcc.command },
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return code === 0;
}

/** Outcome of {@linkcode compileCuda}. */
export interface CudaCompilation {
  /** False: there was nothing to compile with. */
  readonly compiled: boolean;
  /** One line on what was compiled, left out or missing. */
  readonly note: string;
}

/** Cheap to make: the objects are for no GPU to run. */
const CHECK_ARCHITECTURE = "80-real";
const CHECK_FLAGS = ["-DCMAKE_CUDA_FLAGS_RELEASE=-O1 -Xptxas -O1 -DNDEBUG"];

/**
 * Compiles the CUDA library's objects for one architecture, where nvcc is. No GPU and no cuBLAS is
 * needed: without cuBLASLt's header the two files that include it are left out.
 *
 * @throws {BuildError} with the compiler's words
 */
export async function compileCuda(): Promise<CudaCompilation> {
  const nvcc = await findNvcc();
  if (nvcc === null) {
    return { compiled: false, note: "not compiled: nvcc, the CUDA compiler, is not here" };
  }
  const found = await findCMake();
  if (found === null) {
    return { compiled: false, note: "not compiled: this needs CMake with Ninja or Make" };
  }
  const { cmake, generator } = found;
  const build = `${PROJECT_ROOT}.build/cmake-cuda-check`;
  const configured = await runTool(cmake.command, [
    "-S",
    `${PROJECT_ROOT}native`,
    "-B",
    build,
    "-DCMAKE_BUILD_TYPE=Release",
    "-DQLORA_CUDA=ON",
    "-DQLORA_CUDA_COMPILE_ONLY=ON",
    `-DQLORA_CUDA_ARCHITECTURES=${CHECK_ARCHITECTURE}`,
    ...CHECK_FLAGS,
    `-DCMAKE_CUDA_COMPILER=${nvcc.command}`,
    ...(generator === "" || await exists(`${build}/CMakeCache.txt`) ? [] : ["-G", generator]),
  ], "Configuring the CUDA objects");
  await runTool(cmake.command, [
    "--build",
    build,
    "--config",
    "Release",
    "--target",
    "qlora_cuda_objects",
    "--parallel",
    String(navigator.hardwareConcurrency),
  ], "Compiling the CUDA objects");
  const left = /cuBLASLt's header is not here: .*/.exec(configured)?.[0];
  return {
    compiled: true,
    note: `${nvcc.version}, ${CHECK_ARCHITECTURE}${left === undefined ? "" : `; ${left}`}`,
  };
}
