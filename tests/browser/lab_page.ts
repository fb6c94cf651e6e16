/// <reference lib="dom" />
/** JupyterLab as a student has it: started by `deno task lab`, used by mouse. */
import type { Page } from "puppeteer-core";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";

/** A running `deno task lab`. */
export interface RunningLab extends AsyncDisposable {
  /** Address with the token. */
  readonly url: URL;
}

/** Starts `deno task lab --no-browser` and waits for its address. */
export async function startLab(env: Readonly<Record<string, string>>): Promise<RunningLab> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "lab", "--no-browser", "--port", "9310"],
    cwd: PROJECT_ROOT,
    env: { ...env },
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const found = Promise.withResolvers<URL>();
  let said = "";
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      said = (said + text).slice(-20_000);
      const address = /http:\/\/127\.0\.0\.1:\d+\/lab\S*token=\w+/.exec(said)?.[0];
      if (address) found.resolve(new URL(address));
    }
    found.reject(new Error(`deno task lab ended before it gave an address:\n${said}`));
  })();
  const url = await found.promise;
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.status;
      await reading;
    },
  };
}

/** Clicks through the menu bar: `["Run", "Run All Cells"]`. */
export async function chooseMenu(page: Page, path: readonly string[]): Promise<void> {
  for (const [depth, label] of path.entries()) {
    const selector = depth === 0 ? ".lm-MenuBar-item" : ".lm-Menu-item";
    const handle = await page.waitForFunction(
      (selector: string, label: string) =>
        [...document.querySelectorAll(selector)].find((item) =>
          item.querySelector(`${selector}Label`)?.textContent === label &&
          item.getBoundingClientRect().width > 0
        ),
      { timeout: 20_000 },
      selector,
      label,
    );
    const box = await handle.asElement()?.boundingBox();
    if (!box) throw new Error(`The menu item "${label}" is not to be seen.`);
    await page.mouse.move(box.x + 10, box.y + box.height / 2);
    if (depth === 0 || depth === path.length - 1) {
      await page.mouse.click(box.x + 10, box.y + box.height / 2);
    }
  }
}

/** Says yes to JupyterLab's question for the kernel, which it asks now and then at its first start. */
async function acceptKernel(page: Page): Promise<void> {
  const accept = await page.$(".jp-Dialog .jp-mod-accept");
  await accept?.click().catch(() => {}); // gone meanwhile: answered already
}

/** Opens a notebook and waits until its cells are there. */
export async function openNotebook(page: Page, lab: RunningLab, path: string): Promise<void> {
  const url = new URL(`/lab/tree/${path}`, lab.url);
  url.search = `${lab.url.search}&reset`;
  await page.goto(url.href, { waitUntil: "domcontentloaded" });
  await page.waitForSelector(".jp-NotebookPanel .jp-CodeCell", { timeout: 60_000 });
  // The kernel is up when the indicator of the toolbar says so.
  await page.waitForSelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', {
    timeout: 60_000,
  });
}

/** How far the cells are. */
export interface CellsSeen {
  readonly cells: number;
  readonly done: number;
  /** Cells that run or wait for their turn. */
  readonly waiting: number;
  /** Text of the first error output, if there is one. */
  readonly error: string | null;
}

/** Looks at the prompts of all code cells. */
export function lookAtCells(page: Page): Promise<CellsSeen> {
  return page.evaluate(() => {
    const cells = [...document.querySelectorAll(".jp-NotebookPanel .jp-CodeCell")];
    const prompts = cells.map((cell) => cell.querySelector(".jp-InputPrompt")?.textContent ?? "");
    const done = prompts.filter((prompt) => /\[\d+\]/.test(prompt)).length;
    const waiting = prompts.filter((prompt) => prompt.includes("*")).length;
    const error = document.querySelector('[data-mime-type="application/vnd.jupyter.error"]');
    return { cells: cells.length, done, waiting, error: error?.textContent ?? null };
  });
}

/** Milliseconds after which cells that do not even wait are started once more. */
const START_AGAIN_MS = 5000;

/** Runs all cells from the menu and waits until the last has ended or one has failed. */
export async function runAllCells(page: Page, timeoutMs: number): Promise<CellsSeen> {
  const begun = performance.now();
  for (let started = -Infinity;;) {
    await acceptKernel(page);
    const seen = await lookAtCells(page);
    if (seen.error !== null || seen.done === seen.cells) return seen;
    const now = performance.now();
    if (now - begun > timeoutMs) {
      throw new Error(`Only ${seen.done} of ${seen.cells} cells ended in ${timeoutMs / 1000} s.`);
    }
    if (seen.done + seen.waiting === 0 && now - started > START_AGAIN_MS) {
      await chooseMenu(page, ["Run", "Run All Cells"]);
      started = now;
    }
    await new Promise((go) => setTimeout(go, 250));
  }
}
