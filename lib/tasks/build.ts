/** `deno task build`: the native libraries. */
import { buildNative } from "@lib/build/native.ts";
import { parseOptions, reportFailure, type TaskOption } from "@lib/tasks/cli.ts";

const OPTIONS = {
  force: { type: "boolean", help: "build although nothing has changed" },
  "without-cmake": { type: "boolean", help: "call the compiler directly" },
  cuda: { type: "boolean", help: "build for CUDA although no GPU is here" },
  "without-cuda": { type: "boolean", help: "leave the CUDA library aside" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

if (import.meta.main) {
  try {
    const { values } = parseOptions(OPTIONS, Deno.args, false);
    if (values["help"] === true) {
      console.log(
        "Builds the native library, and for CUDA where nvcc and a GPU are here.\n\n" +
          "Usage: deno task build [--force] [--without-cmake] [--cuda | --without-cuda]",
      );
    } else {
      const result = await buildNative({
        force: values["force"] === true,
        withoutCMake: values["without-cmake"] === true,
        cuda: values["cuda"] === true
          ? "always"
          : values["without-cuda"] === true
          ? "never"
          : "auto",
        onProgress: (line) => console.error(line),
      });
      const how = result.built ? `built in ${result.seconds.toFixed(0)} s` : "up to date";
      console.error(`Native library: ${how} (${result.compiler})`);
      const { cuda } = result;
      console.error(
        "compiler" in cuda
          ? `CUDA library: ${cuda.state} (${cuda.compiler})`
          : `CUDA library: ${cuda.state}: ${cuda.reason}`,
      );
      if (cuda.state === "failed") Deno.exitCode = 1;
    }
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
