/**
 * Showing and saving figures so that they are seen everywhere: live, executed, printed, offline.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { display, escapeHtml, FONT_STACK, svg, svgImage } from "./display.ts";
import type { Figure } from "./figure.ts";
import { figureSvg } from "./figure_svg.ts";
import { inKernel } from "./host.ts";

const titleOf = (figure: Figure) => figure.layout.title.text || "Plot";

/** Options of {@linkcode show}. */
export interface ShowOptions {
  /** Also saves the picture as `<saveTo>.svg`, in a kernel or not; the folder is made. */
  readonly saveTo?: string;
}

/**
 * Shows a figure: interactive where the front end knows Plotly, a still picture everywhere else.
 * Outside a kernel nothing is shown; `saveTo` saves the picture there too.
 */
export async function show(figure: Figure, { saveTo }: ShowOptions = {}): Promise<void> {
  if (saveTo === undefined && !inKernel()) return;
  const picture = await figureSvg(figure);
  if (saveTo !== undefined) await savePicture(picture, saveTo);
  if (!inKernel()) return;
  await display({
    "application/vnd.plotly.v1+json": {
      data: figure.data,
      layout: figure.layout,
      config: { responsive: true, displaylogo: false },
    },
    "text/html": svgImage(picture, titleOf(figure)),
    "text/plain": `[plot: ${titleOf(figure)}]`,
  });
}

/**
 * Shows an SVG picture, and saves it as `<saveTo>.svg`, in a kernel or not.
 *
 * @param alt what the picture shows, for readers who do not see it
 */
export async function showSvg(
  picture: string,
  { alt, saveTo }: ShowOptions & { readonly alt: string },
): Promise<void> {
  if (saveTo !== undefined) await savePicture(picture, saveTo);
  if (inKernel()) await svg(picture, { alt });
}

async function saveText(path: string, text: string): Promise<void> {
  const part = `${path}.${Deno.pid}.part`;
  try {
    await Deno.writeTextFile(part, text);
    await Deno.rename(part, path);
  } catch (error) {
    await Deno.remove(part).catch(() => {});
    throw new Error(
      `Cannot write the plot ${path}: ${error instanceof Error ? error.message : error}. ` +
        `Is the folder writable and the disk not full?`,
      { cause: error },
    );
  }
}

/** Writes a picture as `<path>.svg`; returns the path without its ending. */
async function savePicture(picture: string, path: string): Promise<string> {
  const base = path.replace(/\.(svg|html)$/, "");
  await Deno.mkdir(dirname(base), { recursive: true });
  await saveText(`${base}.svg`, picture);
  return base;
}

/** The page of a saved figure: the still picture, and beside it a script that makes it live. */
function page(figure: Figure, picture: string): string {
  const safeJson = JSON.stringify(figure).replaceAll("<", "\\u003c");
  return `<!DOCTYPE html>
<html lang="bn">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(titleOf(figure))}</title>
<style>body { margin: 1rem; font-family: ${FONT_STACK}; background: #fff }</style>
<div id="plot">${picture}</div>
<script src="plotly.min.js"></script>
<script>
if (window.Plotly) {
  const figure = ${safeJson};
  const plot = document.getElementById("plot");
  plot.replaceChildren();
  Plotly.newPlot(plot, figure.data, figure.layout, { responsive: true, displaylogo: false });
}
</script>
</html>
`;
}

/** Puts plotly.js beside a saved page, once a folder. */
async function saveScript(folder: string): Promise<void> {
  const path = join(folder, "plotly.min.js");
  const there = await Deno.stat(path).then(() => true, () => false);
  if (there) return;
  const plotly: { readonly default: unknown } = await import("plotly.js", {
    with: { type: "text" },
  });
  await saveText(path, String(plotly.default));
}

/** Options of {@linkcode savePlot}. */
export interface SavePlotOptions {
  /** Also writes an interactive page (with plotly.min.js beside it, 1.5 MB). @default {false} */
  readonly page?: boolean;
}

/**
 * Writes a figure as `<path>.svg`, and with `page` as `<path>.html`, which needs no network.
 *
 * @param path without an ending; the folder is made
 * @returns the files written
 */
export async function savePlot(
  figure: Figure,
  path: string,
  options: SavePlotOptions = {},
): Promise<readonly string[]> {
  const picture = await figureSvg(figure);
  const base = await savePicture(picture, path);
  if (!options.page) return [`${base}.svg`];
  await saveScript(dirname(base));
  await saveText(`${base}.html`, page(figure, picture));
  return [`${base}.svg`, `${base}.html`];
}
