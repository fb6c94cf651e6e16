/**
 * JupyterLab with the Deno kernel: found, or installed into a local environment.
 *
 * @module
 */
import { join } from "node:path";
import { findTool } from "@lib/build/toolchain.ts";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { exists } from "@lib/files.ts";
import { installKernelSpec } from "./kernel_spec.ts";

/** JupyterLab cannot be had on this machine, or did not start. */
export class LabError extends Error {
  override readonly name = "LabError";
}

/** A JupyterLab that can be started. */
export interface JupyterLab {
  readonly command: string;
  /** Folder of a Python environment or of our own in which the kernel is made known. */
  readonly prefix: string;
  /** Variables by which JupyterLab finds the kernel there. */
  readonly env: Readonly<Record<string, string>>;
}

/** Installed into the local environment: JupyterLab and the renderer of Plotly figures. */
const PACKAGES = ["jupyterlab>=4.4,<5", "plotly>=6"];
/** Oldest JupyterLab that is taken from the PATH. */
const OLDEST_MAJOR = 4;

const isWindows = Deno.build.os === "windows";
const localEnvironment = join(PROJECT_ROOT, ".venv");
const localBin = join(localEnvironment, isWindows ? "Scripts" : "bin");
const inLocalBin = (name: string) => join(localBin, isWindows ? `${name}.exe` : name);

/** JupyterLab in `.venv`, else one on the PATH; `null` where there is neither. */
export async function findJupyterLab(): Promise<JupyterLab | null> {
  const local = inLocalBin("jupyter-lab");
  if (await exists(local)) return { command: local, prefix: localEnvironment, env: {} };
  const found = await findTool("jupyter-lab");
  if (found === null || !(Number.parseInt(found.version, 10) >= OLDEST_MAJOR)) return null;
  // Another's environment is left alone: the kernel is made known in a folder of our own.
  const prefix = join(PROJECT_ROOT, ".build", "jupyter");
  const before = Deno.env.get("JUPYTER_PATH");
  const paths = [join(prefix, "share", "jupyter"), ...before === undefined ? [] : [before]];
  const env = { JUPYTER_PATH: paths.join(isWindows ? ";" : ":") };
  return { command: found.command, prefix, env };
}

async function run(command: string, args: readonly string[], what: string): Promise<void> {
  const { success } = await new Deno.Command(command, { args: [...args] }).spawn().status;
  if (success) return;
  throw new LabError(`${what} failed: ${command} ${args.join(" ")}. Its own words are above.`);
}

/**
 * Installs JupyterLab into `.venv`, once.
 *
 * @throws {LabError} without Python, or where installing fails; running it again goes on
 */
export async function installJupyterLab(say: (line: string) => void): Promise<void> {
  const python = await findTool("python3") ?? await findTool("python");
  if (python === null) {
    throw new LabError(
      "JupyterLab needs Python 3.9 or newer: expected python3 or python, found neither. " +
        "Install it from python.org, or open the notebooks in VS Code, which needs none.",
    );
  }
  say("installing JupyterLab into .venv (once, about a minute)");
  await run(python.command, ["-m", "venv", localEnvironment], "Making .venv");
  const pip = ["-m", "pip", "install", "--quiet", ...PACKAGES];
  await run(inLocalBin("python"), pip, "Installing JupyterLab");
}

/**
 * JupyterLab with the Deno kernel known to it, installed where it is missing.
 *
 * @throws {LabError} naming what is missing
 */
export async function openJupyterLab(say: (line: string) => void): Promise<JupyterLab> {
  let lab = await findJupyterLab();
  if (lab === null) {
    await installJupyterLab(say);
    lab = await findJupyterLab();
  }
  if (lab === null) {
    throw new LabError(
      `Expected ${inLocalBin("jupyter-lab")} after installing, found nothing. ` +
        "Remove .venv and start again.",
    );
  }
  await installKernelSpec({ prefix: lab.prefix });
  return lab;
}
