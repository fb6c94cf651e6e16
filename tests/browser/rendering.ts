/// <reference lib="dom" />
/** What a page shows, as a reader would see it: sizes, glyphs, contrast. */
import type { Page } from "puppeteer-core";

/** A picture in an output. */
export interface Picture {
  readonly kind: "image" | "plotly" | "svg";
  readonly width: number;
  readonly height: number;
  /** Whether an image's data could be drawn. */
  readonly drawn: boolean;
}

/** Pictures in the outputs of the notebook. */
export function pictures(page: Page): Promise<readonly Picture[]> {
  return page.evaluate(() => {
    const found: Picture[] = [];
    const add = (kind: Picture["kind"], element: Element, drawn: boolean) => {
      const { width, height } = element.getBoundingClientRect();
      found.push({ kind, width, height, drawn });
    };
    for (const output of document.querySelectorAll(".jp-NotebookPanel .jp-OutputArea-output")) {
      const plots = [output, ...output.querySelectorAll(".js-plotly-plot")]
        .filter((one) => one.matches(".js-plotly-plot"));
      for (const one of output.querySelectorAll("img")) {
        // A slider's other frames, and the place that JupyterLab's Plotly keeps for a still image.
        if (one.closest("[hidden]") || plots.length > 0) continue;
        add("image", one, one.complete && one.naturalWidth > 0);
      }
      for (const one of plots) {
        const layer = one.querySelector(".main-svg .trace path");
        add("plotly", one, layer !== null);
      }
      // JupyterLab's own icons, as in the tree that shows JSON, are no pictures.
      for (const one of output.querySelectorAll("svg:not(.main-svg, [data-icon])")) {
        if (!one.closest(".js-plotly-plot")) add("svg", one, true);
      }
    }
    return found;
  });
}

/**
 * Bengali letters that the page shows as the box for a missing glyph: each letter in its own font is
 * drawn and compared with a code point that no font has.
 */
export function missingGlyphs(
  page: Page,
  extraFonts: readonly string[],
): Promise<readonly string[]> {
  return page.evaluate((extraFonts: readonly string[]) => {
    const wanted = new Map<string, Set<string>>();
    const want = (font: string, text: string) => {
      const letters = wanted.get(font) ?? new Set<string>();
      for (const letter of text.match(/[\u0980-\u09FF]/g) ?? []) letters.add(letter);
      wanted.set(font, letters);
    };
    const outputs = [...document.querySelectorAll(".jp-NotebookPanel")];
    for (const root of outputs) {
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const text = node.textContent ?? "";
        if (!/[\u0980-\u09FF]/.test(text) || !node.parentElement) continue;
        want(getComputedStyle(node.parentElement).fontFamily, text);
        for (const font of extraFonts) want(font, text);
      }
    }
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [80, 60];
    const context = canvas.getContext("2d", { willReadFrequently: true })!;
    const draw = (font: string, letter: string): string => {
      context.clearRect(0, 0, 80, 60);
      context.font = `32px ${font}`;
      context.fillText(letter, 20, 40);
      const ink = context.getImageData(0, 0, 80, 60).data;
      return Array.from(ink.filter((_, at) => at % 4 === 3), (alpha) => alpha > 100 ? "#" : ".")
        .join("");
    };
    const missing: string[] = [];
    for (const [font, letters] of wanted) {
      const boxes = new Set(["\u0984", "\u0991", "\u{10FFFD}"].map((one) => draw(font, one)));
      const blank = draw(font, " ");
      for (const letter of letters) {
        const ink = draw(font, letter);
        if (ink === blank || boxes.has(ink)) missing.push(`${letter} in ${font}`);
      }
    }
    return missing;
  }, extraFonts);
}

/** Texts of outputs that are hard to read: contrast below `least` (WCAG 2). */
export function faintTexts(page: Page, least: number): Promise<readonly string[]> {
  return page.evaluate((least: number) => {
    const context = document.createElement("canvas").getContext("2d", {
      willReadFrequently: true,
    })!;
    const rgba = (color: string) => {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    };
    const over = (top: readonly number[], below: readonly number[]) =>
      [0, 1, 2].map((at) => {
        const share = (top[3] ?? 255) / 255;
        return (top[at] ?? 0) * share + (below[at] ?? 0) * (1 - share);
      });
    const background = (element: Element | null): number[] => {
      if (!element) return [255, 255, 255];
      const color = rgba(getComputedStyle(element).backgroundColor);
      return color[3] === 255 ? color.slice(0, 3) : over(color, background(element.parentElement));
    };
    const luminance = (color: readonly number[]) => {
      const [r = 0, g = 0, b = 0] = color.map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = new Map<string, string>();
    for (const root of document.querySelectorAll(".jp-NotebookPanel .jp-OutputArea-output")) {
      const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        const text = node.textContent?.trim() ?? "";
        if (!element || text === "" || element.closest("svg, script, style")) continue;
        // Trees of JSON are drawn by JupyterLab, in colours of its own.
        if (element.closest('.jp-RenderedJSON, [data-mime-type="application/json"]')) continue;
        if (element.getClientRects().length === 0) continue;
        const behind = background(element);
        const ink = over(rgba(getComputedStyle(element).color), behind);
        const [high = 0, low = 0] = [luminance(ink), luminance(behind)].toSorted((a, b) => b - a);
        const ratio = (high + 0.05) / (low + 0.05);
        if (ratio >= least) continue;
        const key = `${ink} on ${behind}`;
        faint.set(
          key,
          `${ratio.toFixed(2)}: "${
            text.slice(0, 60)
          }" (${key}) in ${element.tagName}.${element.className}`,
        );
      }
    }
    return [...faint.values()];
  }, least);
}

/**
 * Moves every slider of the notebook: to its end by mouse, then a step back by the keyboard.
 *
 * @returns what each said before and after each move, and how high its shown frame is at last
 */
export async function moveSliders(
  page: Page,
): Promise<readonly { readonly said: readonly string[]; readonly height: number }[]> {
  const moved = [];
  for (const slider of await page.$$(".jp-OutputArea-output figure input[type=range]")) {
    const look = () =>
      slider.evaluate((input) => {
        const frames = [...input.closest("figure")?.querySelectorAll("[data-frame]") ?? []];
        const seen = frames.filter((frame) => frame.getBoundingClientRect().height > 0);
        const text = seen.map((frame) => frame.querySelector("b")?.textContent ?? "").join();
        return { text, height: seen[0]?.getBoundingClientRect().height ?? 0 };
      });
    const { text: first } = await look();
    await slider.scrollIntoView();
    const box = await slider.boundingBox();
    if (!box) throw new Error("A slider is not to be seen.");
    await page.mouse.click(box.x + box.width - 3, box.y + box.height / 2);
    const { text: last } = await look();
    await slider.focus(); // JupyterLab gives a click's focus to the cell
    await page.keyboard.press("ArrowLeft");
    const { text: before, height } = await look();
    moved.push({ said: [first, last, before], height });
  }
  return moved;
}
