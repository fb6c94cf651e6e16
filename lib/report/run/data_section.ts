/** What became of the rows of the corpus: a funnel with a reason for every row that is gone. */
import { z } from "zod";
import { DROP_REASONS, type DropReason } from "@lib/corpus/reasons.ts";
import { htmlTable, readable } from "../html_table.ts";
import { type Markup, markup } from "../markup.ts";
import type { Section } from "../page.ts";

/** What the funnel needs of `clean_report.json`; other counts are listed below it. */
const CleanCounts = z.looseObject({
  source: z.string(),
  mode: z.string(),
  rawRows: z.number(),
  keptRows: z.number().optional(),
  dropped: z.record(z.string(), z.number()).optional(),
});

/** What it needs of `split_report.json`. */
const SplitCounts = z.looseObject({
  rows: z.number(),
  groups: z.number(),
  parts: z.record(z.string(), z.looseObject({ rows: z.number(), groups: z.number() })),
});

interface Bar {
  readonly name: string;
  readonly rows: number;
  readonly lost?: boolean;
}

function barsOf(bars: readonly Bar[], most: number): Markup {
  return markup`<dl class="bars">${
    bars.map(({ name, rows, lost }) =>
      markup`
<dt>${name}</dt><dd><div class="bar${lost === true ? " lost" : ""}" style="width:${
        (100 * rows / most).toFixed(2)
      }%"></div></dd><dd>${readable(rows)}</dd>`
    )
  }
</dl>`;
}

const meaningOf = (code: string): string => DROP_REASONS[code as DropReason] ?? code;

function cleanBars(clean: z.infer<typeof CleanCounts>): Bar[] {
  const dropped = Object.entries(clean.dropped ?? {}).filter(([, rows]) => rows > 0);
  return [
    { name: "rows in the file", rows: clean.rawRows },
    ...dropped.map(([code, rows]) => ({ name: `− ${code}`, rows, lost: true })),
    ...clean.keptRows === undefined ? [] : [{ name: "kept", rows: clean.keptRows }],
  ];
}

/** Nested counts as dotted names; zero counts are left out. */
function flatten(value: unknown, prefix = ""): [string, string][] {
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([key, inner]) =>
      flatten(inner, prefix === "" ? key : `${prefix}.${key}`)
    );
  }
  if (value === 0) return [];
  return [[prefix, typeof value === "number" ? readable(value) : String(value)]];
}

/**
 * The section; null when neither step has run.
 *
 * @param cleaned `clean_report.json` as read
 * @param divided `split_report.json` as read
 */
export function dataSection(cleaned: unknown, divided: unknown): Section | null {
  const clean = CleanCounts.safeParse(cleaned).data;
  const split = SplitCounts.safeParse(divided).data;
  if (clean === undefined && split === undefined) return null;
  const most = clean?.rawRows ?? split?.rows ?? 1;
  const parts = Object.entries(split?.parts ?? {});
  const bars = [
    ...clean === undefined ? [] : cleanBars(clean),
    ...parts.map(([name, { rows }]) => ({ name: `→ ${name}`, rows })),
  ];
  const reasons = Object.entries(clean?.dropped ?? {}).filter(([, rows]) => rows > 0);
  return {
    id: "data",
    title: "Data",
    body: markup`${
      clean === undefined ? null : markup`<p>From ${clean.source}, ${clean.mode} cleaning.</p>`
    }
${barsOf(bars, most)}
${
      reasons.length === 0 ? null : htmlTable(
        ["reason", "rows", "meaning"],
        reasons.map(([code, rows]) => [code, rows, meaningOf(code)]),
        { caption: "Why rows are not in the corpus. Quarantined rows wait for a person's review." },
      )
    }
${
      split === undefined ? null : htmlTable(
        ["part", "rows", "groups"],
        parts.map(([name, { rows, groups }]) => [name, rows, groups]),
        {
          caption: `Split by ${
            readable(split.groups)
          } groups: dialogues and near-duplicates stay together.`,
        },
      )
    }
<details><summary>All counts</summary>
${htmlTable(["count", "value"], flatten({ clean: cleaned, split: divided }), { numeric: [1] })}
</details>`,
  };
}
