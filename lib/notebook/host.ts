/**
 * What the code runs in: the Deno Jupyter kernel, or a plain process such as a task.
 *
 * @module
 */

/** Media types with their content, as Jupyter's display messages carry them. */
export type MediaBundle = Readonly<Record<string, string | object>>;

/** The part of `Deno.jupyter` that this library uses (Deno types it as unstable). */
export interface KernelApi {
  /** Publishes a message to the front end, in the name of the running cell. */
  broadcast(type: string, content: object): Promise<void>;
}

function isKernelApi(value: unknown): value is KernelApi {
  return typeof value === "object" && value !== null &&
    typeof Reflect.get(value, "broadcast") === "function";
}

/**
 * The kernel's API, or `undefined` outside a kernel, where the very access throws
 * although `"jupyter" in Deno` is true.
 */
export function kernelApi(): KernelApi | undefined {
  try {
    const api: unknown = Reflect.get(Deno, "jupyter");
    return isKernelApi(api) ? api : undefined;
  } catch {
    return undefined;
  }
}

/** Whether this code runs in a Jupyter kernel. */
export function inKernel(): boolean {
  return kernelApi() !== undefined;
}
