/** The bench's figures as a table for a terminal. */
import type { Bar } from "@lib/bench/row.ts";
import type { RowReport } from "@lib/bench/run.ts";

function formatValue(value: number | null): string {
  if (value === null) return "–";
  const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 1 : 2;
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** Whether a figure keeps its bar; null: it has none, or there is no figure. */
export function keeps(value: number | null, bar: Bar | null): boolean | null {
  if (value === null || bar === null) return null;
  return bar.at === "most" ? value <= bar.value : value >= bar.value;
}

/** One line a figure: what, figure, bar, whether it is kept, how it was measured. */
export function formatTable(reports: readonly RowReport[]): string {
  const lines: string[][] = [["", "measured", "bar", "", "how"]];
  for (const { title, figures, error } of reports) {
    lines.push([`${title}:`]);
    if (error !== null) lines.push(["  failed", "", "", "✗", error.split("\n").at(-1) ?? ""]);
    for (const { name, value, unit, bar = null, note = "" } of figures) {
      const kept = keeps(value, bar);
      lines.push([
        `  ${name}`,
        `${formatValue(value)} ${unit}`,
        bar === null ? "" : `${bar.at === "most" ? "≤" : "≥"} ${bar.value.toLocaleString("en-US")}`,
        kept === null ? "" : kept ? "✓" : "✗",
        note,
      ]);
    }
    lines.push([]);
  }
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...lines.map((line) => line.length < 2 ? 0 : [...(line[column] ?? "")].length))
  );
  return lines.map((line) =>
    line.map((cell, column) => {
      const pad = " ".repeat(Math.max(0, (widths[column] ?? 0) - [...cell].length));
      return column === 1 || column === 2 ? pad + cell : cell + pad;
    }).join("  ").trimEnd()
  ).join("\n").trimEnd();
}

/** How operations and shares were counted, once under the table. */
export const CONVENTION =
  "Operations: a multiply-add is two. Counted: base products forward and dX, LoRA's products,\n" +
  "attention under its causal mask (2 products forward, 5 backward), the head at target rows, what\n" +
  "is recomputed. Not counted: dequantisation, norms, softmax, AdamW. (lib/engine/flops.ts)\n" +
  "Shares: an epoch is sustained work, so its bar is set against the product that runs for seconds,\n" +
  "when the card has lowered its clock to the power it may draw; beside it the share of the burst.";
