/**
 * Tables from records, and lists of texts before and after: legible with Bengali, light and dark.
 *
 * @module
 */
import { display, type DisplayOptions, escapeHtml, FONT_STACK } from "./display.ts";

/** What a table cell may hold. */
export type TableValue = string | number | bigint | boolean | null | undefined;

/** Options of {@linkcode table}. */
export interface TableOptions extends DisplayOptions {
  /** Line above the table. */
  readonly caption?: string;
  /** Columns to show, in order. @default those of the records, in order of appearance */
  readonly columns?: readonly string[];
  /** Decimals of numbers that are not whole. @default {3} */
  readonly digits?: number;
  /** Rows shown; the rest is counted in a last line. @default {50} */
  readonly maxRows?: number;
}

/** A table ready to be drawn in any form. */
interface TableText {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly numeric: readonly boolean[];
  readonly caption: string;
  readonly hidden: number;
}

/** A number as tables show it: grouped whole numbers, a fixed count of decimals otherwise. */
export function formatNumber(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const small = value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
  if (small) return value.toExponential(Math.max(1, digits - 1));
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function cellText(value: TableValue, digits: number): string {
  if (value === null || value === undefined) return "";
  return typeof value === "number" ? formatNumber(value, digits) : String(value);
}

function layOut(
  records: readonly Readonly<Record<string, TableValue>>[],
  { caption = "", columns, digits = 3, maxRows = 50 }: TableOptions,
): TableText {
  const names = columns ?? [...new Set(records.flatMap((record) => Object.keys(record)))];
  const shown = records.slice(0, maxRows);
  const isNumeric = (name: string) =>
    shown.some((record) => record[name] !== undefined && record[name] !== null) &&
    shown.every((record) =>
      ["number", "bigint", "undefined"].includes(typeof (record[name] ?? undefined))
    );
  return {
    columns: names,
    rows: shown.map((record) => names.map((name) => cellText(record[name], digits))),
    numeric: names.map(isNumeric),
    caption,
    hidden: records.length - shown.length,
  };
}

const graphemes = new Intl.Segmenter("bn", { granularity: "grapheme" });
const width = (text: string) => [...graphemes.segment(text)].length;

/** The table as aligned text. */
function toText({ columns, rows, numeric, caption, hidden }: TableText): string {
  const widths = columns.map((name, at) =>
    Math.max(width(name), ...rows.map((row) => width(row[at] ?? "")))
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, at) => {
      const gap = " ".repeat((widths[at] ?? 0) - width(cell));
      return numeric[at] ? gap + cell : cell + gap;
    }).join("  ").trimEnd();
  return [
    ...caption ? [caption] : [],
    line(columns),
    line(widths.map((count) => "-".repeat(count))),
    ...rows.map(line),
    ...hidden > 0 ? [`… ${hidden} more rows`] : [],
  ].join("\n");
}

const RULE = "1px solid rgba(128,128,128,.35)";

function toHtml({ columns, rows, numeric, caption, hidden }: TableText): string {
  const style = (at: number, extra = "") =>
    `text-align:${numeric[at] ? "right" : "left"};padding:4px 10px;vertical-align:top;` +
    `white-space:pre-wrap;border-bottom:${RULE};` +
    (numeric[at] ? "font-variant-numeric:tabular-nums;" : "") + extra;
  const head = columns.map((name, at) => `<th style="${style(at)}">${escapeHtml(name)}</th>`);
  const body = rows.map((row) =>
    `<tr>${
      row.map((cell, at) => `<td style="${style(at)}">${escapeHtml(cell)}</td>`).join("")
    }</tr>`
  );
  const title = caption
    ? `<caption style="text-align:left;padding:4px 10px;font-weight:bold">${
      escapeHtml(caption)
    }</caption>`
    : "";
  const more = hidden > 0
    ? `<p style="margin:4px 10px;opacity:.7">… ${hidden.toLocaleString("en-US")} more rows</p>`
    : "";
  return `<div style="overflow-x:auto"><table style="border-collapse:collapse;` +
    `font-family:${FONT_STACK};line-height:1.5">${title}<thead><tr>${head.join("")}</tr></thead>` +
    `<tbody>${body.join("")}</tbody></table>${more}</div>`;
}

/**
 * Shows records as a table: text escaped, columns of numbers right-aligned.
 *
 * @example
 * ```ts
 * import { table } from "@lib/notebook/table.ts";
 *
 * await table([{ topic: "রাগ", rows: 1200 }, { topic: "উদ্বেগ", rows: 980 }], { caption: "Topics" });
 * ```
 */
export async function table(
  records: readonly Readonly<Record<string, TableValue>>[],
  options: TableOptions = {},
): Promise<void> {
  const laidOut = layOut(records, options);
  const bundle = { "text/html": toHtml(laidOut), "text/plain": toText(laidOut) };
  await display(bundle, options.id === undefined ? {} : { id: options.id });
}

/** A text before and after something was done to it. */
export interface Example {
  readonly before: string;
  readonly after: string;
  /** What was done, or anything worth a third column. */
  readonly note?: string;
}

/** Options of {@linkcode examples}. */
export interface ExampleOptions extends TableOptions {
  /** Heading of the first column. @default {"Before"} */
  readonly before?: string;
  /** Heading of the second column. @default {"After"} */
  readonly after?: string;
}

/** Shows texts before and after side by side: raw and cleaned, base model and tuned. */
export function examples(list: readonly Example[], options: ExampleOptions = {}): Promise<void> {
  const { before = "Before", after = "After", ...rest } = options;
  const records = list.map((example) => ({
    [before]: example.before,
    [after]: example.after,
    ...(example.note === undefined ? {} : { Note: example.note }),
  }));
  return table(records, rest);
}
