/** Builds and runs the native tests (CTest). */
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { findCMake } from "@lib/build/toolchain.ts";

/** Outcome of the native tests. */
export interface NativeTestResult {
  readonly passed: number;
  readonly failed: number;
  readonly output: string;
}

async function run(command: string, args: readonly string[]) {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  return { success, output: `${text.decode(stdout)}${text.decode(stderr)}` };
}

/** Configures with `QLORA_TESTS`, builds, runs CTest and counts. Needs CMake. */
export async function runNativeTests(): Promise<NativeTestResult> {
  const found = await findCMake();
  if (found === null) {
    return {
      passed: 0,
      failed: 1,
      output: "The native tests need CMake with Ninja or Make. Install cmake, or use the library " +
        "alone: deno task build works without it.",
    };
  }
  const { cmake, generator } = found;
  const build = `${PROJECT_ROOT}.build/cmake-tests`;
  const jobs = String(navigator.hardwareConcurrency);
  const steps = [
    [
      "-S",
      `${PROJECT_ROOT}native`,
      "-B",
      build,
      "-DCMAKE_BUILD_TYPE=Release",
      "-DQLORA_TESTS=ON",
      ...(generator === "" ? [] : ["-G", generator]),
    ],
    ["--build", build, "--config", "Release", "--parallel", jobs],
  ];
  for (const args of steps) {
    const { success, output } = await run(cmake.command, args);
    if (!success) return { passed: 0, failed: 1, output };
  }
  const { output } = await run("ctest", ["--test-dir", build, "--output-on-failure"]);
  const counts = /(\d+) tests? failed out of (\d+)/.exec(output);
  const failed = Number(counts?.[1] ?? 1);
  return { passed: Number(counts?.[2] ?? 0) - failed, failed, output };
}
