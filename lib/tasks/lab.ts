/** `deno task lab`: JupyterLab on the notebooks, with the Deno kernel; installs what is missing. */
import { findTool } from "@lib/build/toolchain.ts";
import { buildNative } from "@lib/build/native.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { installKernelSpec } from "@lib/notebook/kernel_spec.ts";
import { parseOptions, reportFailure, type TaskOption } from "@lib/tasks/cli.ts";

const OPTIONS = {
  "no-browser": { type: "boolean", help: "print the address instead of opening a browser" },
  port: { type: "string", value: "N", help: "port on this machine (default 8888)" },
  help: { type: "boolean", short: "h", help: "this text" },
} as const satisfies Record<string, TaskOption>;

/** JupyterLab cannot be had on this machine. */
class LabError extends Error {
  override readonly name = "LabError";
}

/** Installed into the local environment: JupyterLab and the renderer of Plotly figures. */
const PACKAGES = ["jupyterlab>=4.4,<5", "plotly>=6"];

async function run(command: string, args: readonly string[], what: string): Promise<void> {
  const { success } = await new Deno.Command(command, { args: [...args] }).spawn().status;
  if (!success) {
    throw new LabError(`${what} failed: ${command} ${args.join(" ")}. Its own words are above.`);
  }
}

/** Folder of the local Python environment, made and filled when it is not there. */
async function environment(): Promise<string> {
  const folder = `${PROJECT_ROOT}.venv`;
  const bin = Deno.build.os === "windows" ? `${folder}/Scripts` : `${folder}/bin`;
  const suffix = Deno.build.os === "windows" ? ".exe" : "";
  if (await exists(`${bin}/jupyter-lab${suffix}`)) return bin;
  const python = await findTool("python3") ?? await findTool("python");
  if (python === null) {
    throw new LabError(
      "JupyterLab needs Python 3.9 or newer: expected python3 or python, found neither. " +
        "Install it from python.org, or open the notebooks in VS Code, which needs none.",
    );
  }
  console.error("installing JupyterLab into .venv (once, about a minute)");
  await run(python.command, ["-m", "venv", folder], "Making .venv");
  const pip = `${bin}/python${suffix}`;
  await run(pip, ["-m", "pip", "install", "--quiet", ...PACKAGES], "Installing JupyterLab");
  return bin;
}

async function lab(args: readonly string[]): Promise<void> {
  const { values } = parseOptions(OPTIONS, args, false);
  if (values["help"] === true) {
    console.log(
      "Opens the notebooks in JupyterLab.\n\nUsage: deno task lab [--no-browser] [--port N]",
    );
    return;
  }
  await buildNative({ onProgress: (line) => console.error(`native library: ${line}`) });
  const bin = await environment();
  await installKernelSpec({ prefix: `${PROJECT_ROOT}.venv` });
  const port = typeof values["port"] === "string" ? values["port"] : "8888";
  const options = [`--notebook-dir=${PROJECT_ROOT}`, `--port=${port}`, "--ip=127.0.0.1"];
  // The file browser opens on notebooks/; the whole project is served so that outputs/ can be seen.
  const view = ["--LabApp.default_url=/lab/tree/notebooks"];
  const browser = values["no-browser"] === true ? ["--no-browser"] : [];
  const root = Deno.uid() === 0 ? ["--allow-root"] : [];
  await run(`${bin}/jupyter-lab`, [...options, ...view, ...browser, ...root], "JupyterLab");
}

if (import.meta.main) {
  try {
    await lab(Deno.args);
  } catch (error) {
    Deno.exit(reportFailure(error));
  }
}
