/**
 * A slider over pictures that were made before: it works in JupyterLab, VS Code and exported HTML,
 * with no network and no kernel. Where scripts are off, the frame chosen at first is shown.
 *
 * @module
 */
import { display, escapeHtml, FONT_STACK } from "./display.ts";

/** One position of the slider. */
export interface Frame {
  /** What the slider says here, such as `rank 8`. */
  readonly label: string;
  /** What is shown here, as HTML. */
  readonly html: string;
}

/** Options of {@linkcode frameSlider}. */
export interface FrameSliderOptions {
  readonly title: string;
  /** Frame that is shown first. @default {0} */
  readonly first?: number;
}

/** Shows the frame of the slider's value and hides the others; runs in the reader's browser. */
const SHOW_FRAME = "const f=this.closest('figure');" +
  "f.querySelectorAll('[data-frame]').forEach((e)=>{e.hidden=e.dataset.frame!==this.value});" +
  "this.setAttribute('aria-valuetext',f.querySelector('[data-frame]:not([hidden])').dataset.label)";

/** The slider as HTML. */
export function frameSliderHtml(frames: readonly Frame[], options: FrameSliderOptions): string {
  const { title, first = 0 } = options;
  const label = escapeHtml(frames[first]?.label ?? "");
  const shown = frames.map((frame, at) =>
    `<div data-frame="${at}" data-label="${escapeHtml(frame.label)}"${
      at === first ? "" : " hidden"
    }><p style="margin:4px 0"><b>${escapeHtml(frame.label)}</b></p>${frame.html}</div>`
  );
  return `<figure style="margin:8px 0;font-family:${FONT_STACK}">` +
    `<figcaption>${escapeHtml(title)}</figcaption>` +
    // Without its attribute JupyterLab would take the arrow keys for itself.
    `<input data-lm-suppress-shortcuts="true" type="range" min="0" max="${
      frames.length - 1
    }" value="${first}" step="1" ` +
    `aria-label="${escapeHtml(title)}" aria-valuetext="${label}" style="width:24em" ` +
    `oninput="${escapeHtml(SHOW_FRAME)}">${shown.join("")}</figure>`;
}

/** Shows a slider over frames; outside a kernel its title is printed. */
export function frameSlider(
  frames: readonly Frame[],
  options: FrameSliderOptions,
): Promise<void> {
  return display({
    "text/html": frameSliderHtml(frames, options),
    "text/plain": `${options.title} (${frames.map(({ label }) => label).join(", ")})`,
  });
}
