/** A kernel for tests: the version under test, cells with deadlines, output judged strictly. */
import { fileURLToPath } from "node:url";
import { type CellMessage, KernelClient } from "@lib/notebook/kernel/client.ts";

/** The project's root. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Executable of the Deno version under test; `KERNEL_DENO` overrides this process's own. */
export const KERNEL_DENO = Deno.env.get("KERNEL_DENO") ?? Deno.execPath();

/** Whether the output hook is tried; `KERNEL_HOOK=off` measures the bare kernel. */
export const KERNEL_HOOK = Deno.env.get("KERNEL_HOOK") !== "off";

/** What one cell did, as a front end that stops listening at `idle` sees it. */
export interface SeenCell {
  readonly status: "ok" | "error" | "aborted";
  /** Everything published in time. */
  readonly messages: readonly CellMessage[];
  /** Text of streams, values and errors in order. */
  readonly text: string;
  /** One letter a message: (o)ut, (e)rr, (d)isplay, (u)pdate, (r)esult, e(x)ception. */
  readonly order: string;
}

// deno-lint-ignore no-control-regex -- terminal colours are control sequences
const COLOURS = /\u001b\[\d+m/g;

function textOf({ type, content }: CellMessage): string {
  if (type === "stream") return String(content.text);
  if (type === "error") return String(content.evalue);
  const { data } = content;
  return typeof data === "object" && data !== null
    ? Object.values(data).filter((value) => typeof value === "string").join("")
    : "";
}

const LETTERS: Readonly<Record<string, string>> = {
  display_data: "d",
  update_display_data: "u",
  execute_result: "r",
  error: "x",
};

/** Runs a cell; output that comes after `idle` does not count. */
export async function runCell(
  kernel: KernelClient,
  code: string,
  { deadlineMs = 5000 }: { readonly deadlineMs?: number } = {},
): Promise<SeenCell> {
  const messages: CellMessage[] = [];
  const timeout = new AbortController();
  const timer = setTimeout(
    () => timeout.abort(new Error(`The cell hangs for ${deadlineMs} ms:\n${code}`)),
    deadlineMs,
  );
  try {
    const { status } = await kernel.execute(code, {
      quietMs: 0,
      signal: timeout.signal,
      onMessage: (message) => {
        if (message.type !== "execute_input" && !message.late) messages.push(message);
      },
    });
    const text = messages.map(textOf).join("").replaceAll(COLOURS, "");
    const order = messages.map(({ type, content }) =>
      LETTERS[type] ?? (content.name === "stderr" ? "e" : "o")
    ).join("");
    return { status, messages, text, order };
  } finally {
    clearTimeout(timer);
  }
}

/** A kernel in the project's root, set up as every notebook does. */
export async function startKernel(): Promise<KernelClient> {
  const kernel = await KernelClient.start({ cwd: ROOT, deno: KERNEL_DENO });
  const setup = await kernel.execute(
    `const { setupNotebook, interruptible } = await import("@lib/notebook/mod.ts");
     await setupNotebook({ outputHook: ${KERNEL_HOOK} });`,
  );
  if (setup.status === "ok") return kernel;
  await kernel.shutdown();
  throw new Error(`Cannot set up the kernel: ${JSON.stringify(setup.content)}`);
}
