/**
 * Showing things in a cell: HTML, Markdown, SVG, JSON, in place where asked.
 *
 * Every function is awaited. Outside a kernel the text form is printed, and what has none is
 * passed over, so that the same code serves tasks.
 *
 * @module
 */
import { kernelApi, type MediaBundle } from "./host.ts";
import { flushOutput } from "./output_hook.ts";

/** Where a display goes. */
export interface DisplayOptions {
  /** Name of the display; showing again under one name updates it in place. */
  readonly id?: string;
}

/**
 * Sans-serif fonts with Bengali letters on Linux, Windows, macOS and Android. The names are not
 * quoted, which CSS allows and plotly.js's SVG export needs.
 */
export const FONT_STACK =
  "Noto Sans Bengali,Nirmala UI,Kohinoor Bangla,Bangla Sangam MN,Vrinda,system-ui,sans-serif";

const shown = new Set<string>();

/** Escapes text for HTML elements and quoted attributes. */
export function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replaceAll(/[&<>"']/g, (letter) => entities[letter] ?? letter);
}

/**
 * Shows a bundle of media types; the front end picks the richest it knows.
 *
 * @param metadata marks for front ends and the runner
 */
export async function display(
  bundle: MediaBundle,
  { id }: DisplayOptions = {},
  metadata: object = {},
): Promise<void> {
  const api = kernelApi();
  if (!api) {
    const text = bundle["text/plain"];
    if (typeof text === "string" && text !== "") console.log(text);
    return;
  }
  const update = id !== undefined && shown.has(id);
  if (id !== undefined) shown.add(id);
  const flushed = flushOutput(); // earlier lines come first
  await Promise.all([
    flushed,
    api.broadcast(update ? "update_display_data" : "display_data", {
      data: bundle,
      metadata,
      transient: id === undefined ? {} : { display_id: id },
    }),
  ]);
}

/** A fresh name for a display that is to be updated. */
export function displayId(): string {
  return crypto.randomUUID();
}

/** Shows HTML as it is; escape what comes from data with {@linkcode escapeHtml}. */
export function html(markup: string, options: DisplayOptions = {}): Promise<void> {
  return display({ "text/html": markup }, options);
}

/** Shows Markdown; printed as it is outside a kernel. */
export function markdown(text: string, options: DisplayOptions = {}): Promise<void> {
  return display({ "text/markdown": text, "text/plain": text }, options);
}

/**
 * SVG as an HTML image: it survives in executed files, where JupyterLab removes inline SVG until
 * the notebook is trusted, and its ids cannot clash with another picture's.
 *
 * @param alt what the picture shows, for readers who do not see it
 */
export function svgImage(source: string, alt: string): string {
  const bytes = new TextEncoder().encode(source);
  const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return `<img src="data:image/svg+xml;base64,${base64}" alt="${
    escapeHtml(alt)
  }" style="max-width:100%">`;
}

/** Shows an SVG picture. */
export function svg(
  source: string,
  { alt = "", ...options }: DisplayOptions & { readonly alt?: string } = {},
): Promise<void> {
  return display({ "text/html": svgImage(source, alt) }, options);
}

/** Shows a value as JSON: a foldable tree in JupyterLab, indented text elsewhere. */
export function json(value: object, options: DisplayOptions = {}): Promise<void> {
  const text = JSON.stringify(value, null, 2);
  return display({ "application/json": value, "text/plain": text }, options);
}
