/** Builds and runs the CUDA op tests. */
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { runTool } from "@lib/build/command.ts";
import { findGpu } from "@lib/build/cuda.ts";
import { findCMake, findNvcc } from "@lib/build/toolchain.ts";

/** What a GPU's own code, or the PTX of the oldest GPU served, came to. */
export interface CudaTestRun {
  readonly name: string;
  readonly passed: boolean;
}

/** Architectures the tests are run for: PTX forced, nothing can depend on the newest GPUs unseen. */
const VARIANTS = [
  { name: "this GPU's machine code", architectures: null },
  { name: "PTX of compute capability 8.0", architectures: "80-virtual" },
] as const;

/**
 * Runs every CUDA op against its reference, once for each variant, on the terminal.
 *
 * @returns the runs, or why there were none
 * @throws {BuildError} the tests do not build
 */
export async function runCudaTests(
  onProgress: (line: string) => void,
): Promise<readonly CudaTestRun[] | string> {
  if (await findGpu() === null) return "no NVIDIA GPU is here";
  const nvcc = await findNvcc();
  if (nvcc === null) return "nvcc, the CUDA compiler, is not here";
  const found = await findCMake();
  if (found === null) return "the CUDA build needs CMake with Ninja or Make";
  const { cmake, generator } = found;
  const runs: CudaTestRun[] = [];
  for (const { name, architectures } of VARIANTS) {
    const build = `${PROJECT_ROOT}.build/cmake-cuda-tests${architectures === null ? "" : "-ptx"}`;
    onProgress(`building the CUDA op tests: ${name}`);
    await runTool(cmake.command, [
      "-S",
      `${PROJECT_ROOT}native`,
      "-B",
      build,
      "-DCMAKE_BUILD_TYPE=Release",
      "-DQLORA_CUDA=ON",
      "-DQLORA_TESTS=ON",
      `-DCMAKE_CUDA_COMPILER=${nvcc.command}`,
      ...(architectures === null ? [] : [`-DQLORA_CUDA_ARCHITECTURES=${architectures}`]),
      ...(generator === "" || await exists(`${build}/CMakeCache.txt`) ? [] : ["-G", generator]),
    ], "Configuring the CUDA op tests");
    await runTool(cmake.command, [
      "--build",
      build,
      "--config",
      "Release",
      "--target",
      "qlora_cuda_ops_test",
      "--parallel",
      String(navigator.hardwareConcurrency),
    ], "Building the CUDA op tests");
    const { code } = await new Deno.Command(`${build}/tests/cuda/qlora_cuda_ops_test`, {
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    runs.push({ name, passed: code === 0 });
  }
  return runs;
}
