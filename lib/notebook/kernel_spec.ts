/**
 * How Jupyter finds the Deno kernel: its kernelspec, and a notebook's mention of it.
 *
 * @module
 */
import { join } from "node:path";

/** Name by which notebooks ask for the kernel. */
export const KERNEL_NAME = "deno";

/** Notebook metadata that make JupyterLab and VS Code choose the Deno kernel. */
export const DENO_METADATA = {
  kernelspec: { display_name: "Deno", language: "typescript", name: KERNEL_NAME },
  language_info: {
    file_extension: ".ts",
    mimetype: "text/x.typescript",
    name: "typescript",
    nbconvert_exporter: "script",
    pygments_lexer: "typescript",
  },
} as const;

/** Options of {@linkcode installKernelSpec}. */
export interface KernelSpecOptions {
  /** Folder of a Python environment, or any folder whose `share/jupyter` is on `JUPYTER_PATH`. */
  readonly prefix: string;
  /** Deno executable. @default {Deno.execPath()} */
  readonly deno?: string;
  /** Variables set for every kernel. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Installs the kernelspec for the running (pinned) Deno, replacing an older one. Interrupts are
 * signals: Deno's kernel hangs on interrupt messages while a cell awaits.
 *
 * @returns the file written
 */
export async function installKernelSpec(options: KernelSpecOptions): Promise<string> {
  const { prefix, deno = Deno.execPath(), env = {} } = options;
  const folder = join(prefix, "share", "jupyter", "kernels", KERNEL_NAME);
  const path = join(folder, "kernel.json");
  const spec = {
    argv: [deno, "jupyter", "--kernel", "--conn", "{connection_file}"],
    display_name: DENO_METADATA.kernelspec.display_name,
    language: DENO_METADATA.kernelspec.language,
    interrupt_mode: "signal",
    // Deno's green and yellow on JupyterLab's white have contrasts of 3.3 and 1.9; text wants 4.5.
    env: { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1", ...env },
  };
  const part = `${path}.${Deno.pid}.part`;
  try {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(part, JSON.stringify(spec, null, 2) + "\n");
    await Deno.rename(part, path);
  } catch (error) {
    throw new Error(
      `Cannot install the Deno kernel at ${path}: ${
        error instanceof Error ? error.message : error
      }. ` +
        `Choose a prefix that you may write to.`,
      { cause: error },
    );
  }
  return path;
}
