/** `deno task test:gpu`: the CUDA ops against their references; skips in one line without a GPU. */
import { runCudaTests } from "@lib/build/cuda_tests.ts";
import { reportFailure } from "@lib/tasks/cli.ts";

if (import.meta.main) {
  try {
    const runs = await runCudaTests((line) => console.error(line));
    if (typeof runs === "string") {
      console.error(`GPU tests skipped: ${runs}`);
    } else {
      for (const { name, passed } of runs) {
        console.error(`${passed ? "passed" : "FAILED"}: ${name}`);
      }
      if (runs.some((run) => !run.passed)) Deno.exitCode = 1;
    }
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
