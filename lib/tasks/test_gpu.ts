/** `deno task test:gpu`: every test that needs a GPU; skips in one line where there is none. */
import { CUDA_TEST_STAGES, runCudaTests } from "@lib/build/cuda_tests.ts";
import { parseOptions, reportFailure, type TaskOption, UsageError } from "@lib/tasks/cli.ts";

const OPTIONS = {
  stages: {
    type: "string",
    value: "STAGE,…",
    help: `some of ${CUDA_TEST_STAGES.join(", ")} (default: all)`,
  },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

async function testGpu(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) {
    console.log(
      `Runs every test that needs a GPU.\n\nUsage: deno task test:gpu [--stages STAGE,…]\n\n` +
        `  --stages ${OPTIONS.stages.value}  ${OPTIONS.stages.help}`,
    );
    return;
  }
  const wanted = typeof values["stages"] === "string" ? values["stages"].split(",") : undefined;
  const unknown = wanted?.find((stage) => !CUDA_TEST_STAGES.some((name) => name === stage));
  if (unknown !== undefined) {
    throw new UsageError(
      `--stages: expected some of ${CUDA_TEST_STAGES.join(", ")}, found "${unknown}"`,
    );
  }
  const stages = CUDA_TEST_STAGES.filter((stage) => wanted?.includes(stage) ?? true);
  const result = await runCudaTests(stages);
  if (typeof result === "string") console.error(`GPU tests skipped: ${result}`);
  else if (!result) Deno.exitCode = 1;
}

if (import.meta.main) {
  try {
    await testGpu(Deno.args);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
