/// <reference lib="dom" />
/**
 * Every notebook in JupyterLab, in a real browser: opened, run from the menu, looked at.
 *
 * The notebooks are copies with smoke settings in their parameters; nothing else is changed.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { PROJECT_ROOT } from "@lib/experiment/run.ts";
import { writeFileAtomic } from "@lib/files.ts";
import { FONT_STACK } from "@lib/notebook/display.ts";
import { findJupyterLab } from "@lib/notebook/jupyter_lab.ts";
import { loadNotebook, saveNotebook } from "@lib/notebook/notebook_file.ts";
import { injectParameters } from "@lib/notebook/parameters.ts";
import { SMOKE_SETTINGS } from "@lib/notebook/smoke.ts";
import { courseNames, NOTEBOOKS } from "@lib/teaching/course.ts";
import type { Page } from "puppeteer-core";
import { findChromium, startChromium } from "./chromium.ts";
import { chooseMenu, openNotebook, runAllCells, startLab } from "./lab_page.ts";
import { faintTexts, missingGlyphs, moveSliders, pictures } from "./rendering.ts";

const chromium = await findChromium();
const jupyter = await findJupyterLab();
if (chromium === null) console.error("skipped: no Chromium here (set CHROMIUM to its command)");
if (jupyter === null) console.error("skipped: no JupyterLab here (deno task lab installs it)");

/** Enough steps for a curve that grows before one's eyes. */
const SETTINGS = SMOKE_SETTINGS.map((one) =>
  one.startsWith("training.max_steps=") ? "training.max_steps=25" : one
);
/** Least contrast of text with its background: WCAG 2, level AA. */
const CONTRAST = 4.5;
const THEMES = ["JupyterLab Light", "JupyterLab Dark"];

/** JupyterLab's own settings. */
const LAB_SETTINGS = {
  // All cells are drawn, not those in sight only: the test looks at every output.
  "notebook-extension/tracker": { windowingMode: "none" },
  // No question about news over the notebook.
  "apputils-extension/notification": { fetchNews: "false", checkForUpdates: false },
};

/** A folder in the project with copies of the notebooks, their outputs and JupyterLab's settings. */
async function prepareFolder(): Promise<{ folder: string; relative: string }> {
  const relative = `outputs/test-browser-${crypto.randomUUID().slice(0, 8)}`;
  const folder = join(PROJECT_ROOT, relative);
  for (const [plugin, settings] of Object.entries(LAB_SETTINGS)) {
    await writeFileAtomic(
      join(folder, "settings", "@jupyterlab", `${plugin}.jupyterlab-settings`),
      JSON.stringify(settings),
    );
  }
  for (const name of await courseNames()) {
    const notebook = await loadNotebook(join(NOTEBOOKS, `${name}.ipynb`));
    const parameters = { run: "browser", profile: "tiny", settings: SETTINGS };
    await saveNotebook(join(folder, `${name}.ipynb`), injectParameters(notebook, parameters));
  }
  return { folder, relative };
}

/** Counts how often the living curve is redrawn from now on. */
async function watchCurve(page: Page): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    const drawn = new Set<string>();
    Reflect.set(globalThis, "curvesDrawn", drawn);
    new MutationObserver(() => {
      for (const one of document.querySelectorAll(".jp-OutputArea-output svg polyline")) {
        drawn.add(one.getAttribute("points") ?? "");
      }
    }).observe(document.body, { childList: true, subtree: true });
  });
  return () => page.evaluate(() => (Reflect.get(globalThis, "curvesDrawn") as Set<string>).size);
}

async function checkNotebook(page: Page, name: string): Promise<void> {
  const curve = await watchCurve(page);
  const seen = await runAllCells(page, 180_000);
  assertEquals(seen.error, null, `${name}: ${seen.error}`);
  assert(seen.cells > 10, `${name}: ${seen.cells} cells seen`);
  const shown = await pictures(page);
  assert(shown.length > 0, `${name} shows no plot`);
  const unseen = shown.filter(({ width, height, drawn }) => !drawn || width < 50 || height < 20);
  assertEquals(unseen, [], `${name}: pictures that nobody can see`);
  if (name.startsWith("03_")) {
    const drawings = await curve();
    assert(drawings >= 3, `the curve of training was drawn ${drawings} times, expected 3 or more`);
    const sliders = await moveSliders(page);
    assertEquals(sliders.length, 2, "sliders");
    for (const { said, height } of sliders) {
      assert(said.every((text) => /^(rank|blocks of) \d+:/.test(text)), said.join(" → "));
      assertEquals(new Set(said).size, 3, `a slider that does not move: ${said.join(" → ")}`);
      assert(height > 100, `the frame "${said.at(-1)}" is ${height} pixels high`);
    }
  }
  assertEquals(await missingGlyphs(page, [FONT_STACK]), [], `${name}: letters without a glyph`);
  for (const theme of THEMES) {
    await chooseMenu(page, ["Settings", "Theme", theme]);
    const dark = theme.endsWith("Dark");
    await page.waitForSelector(`body[data-jp-theme-light="${!dark}"]`, { timeout: 20_000 });
    await new Promise((go) => setTimeout(go, 500)); // colours change gradually
    assertEquals(await faintTexts(page, CONTRAST), [], `${name}: hard to read in ${theme}`);
  }
}

Deno.test({
  name: "every notebook runs in JupyterLab and shows what it should",
  ignore: chromium === null || jupyter === null,
  sanitizeOps: false, // the browser keeps its connection until the end
  sanitizeResources: false,
  fn: async (t) => {
    const { folder, relative } = await prepareFolder();
    try {
      await using lab = await startLab({
        JUPYTERLAB_SETTINGS_DIR: join(folder, "settings"),
        JUPYTERLAB_WORKSPACES_DIR: join(folder, "workspaces"),
        QLORA_OUTPUTS: join(folder, "runs"),
      });
      const browser = await startChromium(chromium ?? "");
      try {
        for (const name of await courseNames()) {
          await t.step(name, async () => {
            const page = await browser.newPage();
            await openNotebook(page, lab, `${relative}/${name}.ipynb`);
            await checkNotebook(page, name);
            await page.close();
          });
        }
      } finally {
        await browser.close();
      }
    } finally {
      await Deno.remove(folder, { recursive: true }).catch(() => {});
    }
  },
});
