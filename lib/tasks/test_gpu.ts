/** `deno task test:gpu`: every test that needs a GPU; skips in one line where there is none. */
import { runCudaTests } from "@lib/build/cuda_tests.ts";
import { reportFailure } from "@lib/tasks/cli.ts";

if (import.meta.main) {
  try {
    const result = await runCudaTests();
    if (typeof result === "string") console.error(`GPU tests skipped: ${result}`);
    else if (!result) Deno.exitCode = 1;
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
