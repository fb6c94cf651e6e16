/**
 * HTML from templates in which every value is escaped unless it is markup itself.
 *
 * @module
 */
import { escapeHtml } from "@lib/notebook/display.ts";

/** Text that is HTML already. */
export class Markup {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

/** What a template takes: nothing, text, markup, or a list of them. */
export type HtmlValue = string | number | Markup | null | undefined | readonly HtmlValue[];

function render(value: HtmlValue): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Markup) return value.text;
  if (typeof value === "string") return escapeHtml(value.toWellFormed().replaceAll(FORBIDDEN, "�"));
  if (typeof value === "number") return String(value);
  return value.map(render).join("");
}

/** Control characters that HTML does not allow, not even escaped. */
// deno-lint-ignore no-control-regex -- they are what is to be found
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]/gu;

/**
 * A template tag: literal parts are HTML, interpolated values are escaped.
 *
 * @example
 * ```ts
 * import { markup } from "@lib/report/markup.ts";
 * import { assertEquals } from "@std/assert";
 * const item = markup`<li>${"a < b"}</li>`;
 * assertEquals(String(markup`<ul>${[item, item]}</ul>`), "<ul><li>a &lt; b</li><li>a &lt; b</li></ul>");
 * ```
 */
export function markup(parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Markup {
  return new Markup(parts.reduce((text, part, i) => text + render(values[i - 1]) + part));
}

/** Marks text as HTML; for constants and for what was escaped by other means. */
export function raw(text: string): Markup {
  return new Markup(text);
}
