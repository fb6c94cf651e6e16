/**
 * Draws a figure as SVG without a browser: plotly.js in a jsdom window, loaded at first use.
 *
 * @module
 */
import type { Figure, Layout } from "./figure.ts";
import { localBox, screenBox, type SvgNode } from "./svg_geometry.ts";

/** The part of plotly.js that is used. */
interface Plotly {
  newPlot(target: object, data: unknown, layout: unknown, config: unknown): Promise<unknown>;
  toImage(target: object, options: object): Promise<string>;
  purge(target: object): void;
}

interface DrawingWindow {
  readonly document: {
    readonly body: { append(child: object): void };
    createElement(tag: string): { remove(): void };
  };
  readonly JSON: JSON;
  readonly URL: { createObjectURL?: () => string };
  readonly HTMLCanvasElement: { readonly prototype: object };
  readonly SVGElement: { readonly prototype: object };
  readonly Plotly: Plotly;
  eval(source: string): void;
}

/** Gives a jsdom window what it lacks and plotly.js asks for. */
function complete(window: DrawingWindow): void {
  Object.assign(window, { TextDecoder, TextEncoder });
  window.URL.createObjectURL = () => "";
  const measure = {
    getBBox(this: SvgNode) {
      return localBox(this);
    },
    getComputedTextLength(this: SvgNode) {
      return localBox(this).width;
    },
    getBoundingClientRect(this: SvgNode) {
      const { x, y, width, height } = screenBox(this);
      return { x, y, width, height, left: x, top: y, right: x + width, bottom: y + height };
    },
  };
  Object.assign(window.SVGElement.prototype, measure);
  Object.assign(window.HTMLCanvasElement.prototype, { getContext: () => null });
}

async function openWindow(): Promise<DrawingWindow> {
  const { JSDOM, VirtualConsole } = await import("jsdom");
  const plotly: { readonly default: unknown } = await import("plotly.js", {
    with: { type: "text" },
  });
  const { window }: { readonly window: DrawingWindow } = new JSDOM("<!DOCTYPE html><body></body>", {
    virtualConsole: new VirtualConsole(), // plotly.js's remarks on its jsdom window help nobody
    runScripts: "outside-only", // lets us evaluate plotly.js; nothing is fetched
  });
  complete(window);
  window.eval(String(plotly.default));
  return window;
}

let opened: Promise<DrawingWindow> | undefined;
let queue: Promise<unknown> = Promise.resolve();

/** Margins are reckoned beforehand; plotly.js could only widen them by measuring on a screen. */
function withFixedMargins(layout: Layout): Layout {
  const { xaxis, yaxis } = layout;
  return {
    ...layout,
    xaxis: { ...xaxis, automargin: false },
    yaxis: { ...yaxis, automargin: false },
  };
}

async function draw(figure: Figure): Promise<string> {
  opened ??= openWindow();
  const { document, Plotly, JSON: inner } = await opened;
  const target = document.createElement("div");
  document.body.append(target);
  const { width, height } = figure.layout;
  try {
    // Objects of the window's own realm: plotly.js tells arrays and plain objects by it.
    const data = inner.parse(JSON.stringify(figure.data));
    const layout = inner.parse(JSON.stringify(withFixedMargins(figure.layout)));
    await Plotly.newPlot(target, data, layout, { staticPlot: true });
    return await Plotly.toImage(target, { format: "svg", imageDataOnly: true, width, height });
  } finally {
    Plotly.purge(target);
    target.remove();
  }
}

/**
 * The figure as an SVG document. The first call loads plotly.js (about a second); a further figure
 * takes some 50 ms.
 */
export function figureSvg(figure: Figure): Promise<string> {
  const drawn = queue.then(() => draw(figure));
  queue = drawn.catch(() => {});
  return drawn;
}
