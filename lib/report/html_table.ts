/** Tables that a screen reader can follow and a printer can break. */
import { type HtmlValue, type Markup, markup } from "./markup.ts";

/** A table's words beside its cells. */
export interface TableOptions {
  /** What the table holds. */
  readonly caption?: string;
  /** Columns, from 0, whose cells are numbers. */
  readonly numeric?: readonly number[];
  /** Language of the cells where it is not the page's. */
  readonly lang?: string;
}

/** A number for reading: grouped, at most six digits. */
export function readable(value: number): string {
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });
}

/**
 * A table whose first column names its rows.
 *
 * @example
 * ```ts
 * import { htmlTable } from "@lib/report/html_table.ts";
 * import { assertStringIncludes } from "@std/assert";
 * assertStringIncludes(String(htmlTable(["metric", "n"], [["BLEU", 3]])), '<td class="n">3</td>');
 * ```
 */
export function htmlTable(
  head: readonly string[],
  rows: readonly (readonly HtmlValue[])[],
  { caption, numeric = [], lang }: TableOptions = {},
): Markup {
  const cell = (value: HtmlValue, i: number): Markup => {
    if (i === 0) return markup`<th scope="row">${value}</th>`;
    if (typeof value === "number") return markup`<td class="n">${readable(value)}</td>`;
    return numeric.includes(i) ? markup`<td class="n">${value}</td>` : markup`<td>${value}</td>`;
  };
  const attribute = lang === undefined ? null : markup` lang="${lang}"`;
  return markup`<div class="scroll"><table>${
    caption === undefined ? null : markup`
<caption>${caption}</caption>`
  }
<thead><tr>${head.map((name) => markup`<th scope="col">${name}</th>`)}</tr></thead>
<tbody${attribute}>${
    rows.map((row) =>
      markup`
<tr>${row.map(cell)}</tr>`
    )
  }
</tbody></table></div>`;
}
