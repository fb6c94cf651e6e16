/** `deno task build`: the native library. */
import { buildNative } from "@lib/build/native.ts";
import { parseOptions, reportFailure, type TaskOption } from "@lib/tasks/cli.ts";

const OPTIONS = {
  force: { type: "boolean", help: "build although nothing has changed" },
  "without-cmake": { type: "boolean", help: "call the compiler directly" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

if (import.meta.main) {
  try {
    const { values } = parseOptions(OPTIONS, Deno.args, false);
    if (values["help"] === true) {
      console.log(
        "Builds the native library.\n\nUsage: deno task build [--force] [--without-cmake]",
      );
    } else {
      const result = await buildNative({
        force: values["force"] === true,
        withoutCMake: values["without-cmake"] === true,
        onProgress: (line) => console.error(line),
      });
      const how = result.built ? `built in ${result.seconds.toFixed(0)} s` : "up to date";
      console.error(`Native library: ${how} (${result.compiler})`);
    }
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
