/** Small notebooks for tests. */
import { join } from "node:path";
import { ROOT } from "./kernel_fixture.ts";

/** A code cell's source, or one with tags. */
export type TestCell = string | { readonly source: string; readonly tags: readonly string[] };

/** A notebook's JSON with these code cells after a title. */
export function notebookJson(cells: readonly TestCell[]): string {
  return JSON.stringify({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: [
      { cell_type: "markdown", id: "title", metadata: {}, source: "# Test" },
      ...cells.map((cell, at) => ({
        cell_type: "code",
        id: `cell-${at}`,
        metadata: typeof cell === "string" ? {} : { tags: cell.tags },
        source: typeof cell === "string" ? cell : cell.source,
        outputs: [],
        execution_count: null,
      })),
    ],
  });
}

/** Runs a test in a folder below the project's root, where cells find `deno.json`. */
export async function inProjectFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const outputs = join(ROOT, "outputs");
  await Deno.mkdir(outputs, { recursive: true });
  const folder = await Deno.makeTempDir({ dir: outputs, prefix: "test-notebook-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes a notebook and returns its path. */
export async function writeNotebook(
  folder: string,
  cells: readonly TestCell[],
  name = "test.ipynb",
): Promise<string> {
  const path = join(folder, name);
  await Deno.writeTextFile(path, notebookJson(cells));
  return path;
}

/** Whether a process lives. */
export async function isAlive(pid: number): Promise<boolean> {
  const { success } = await new Deno.Command("kill", {
    args: ["-0", String(pid)],
    stderr: "null",
  }).output();
  return success;
}

/** Waits until a condition holds. */
export async function eventually(
  condition: () => Promise<boolean>,
  what: string,
  timeoutMs = 4000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
