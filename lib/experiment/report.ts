/**
 * One self-contained HTML page a run: what was asked, on what data, how it trained, what came out.
 * Needs no network; pictures stand in the page.
 */
import { loadEvaluationResults } from "@lib/evaluation/mod.ts";
import { loadLog, type LogEvent } from "@lib/experiment/log.ts";
import { resultsRows } from "@lib/experiment/results_table.ts";
import type { Run } from "@lib/experiment/run.ts";
import { exists, loadJson, writeFileAtomic } from "@lib/files.ts";
import { escapeHtml } from "@lib/notebook/mod.ts";
import { loadTestResults } from "@lib/workflow/generate.ts";

/** A section with its heading; absent when the step it shows has not run. */
interface Section {
  readonly title: string;
  readonly html: string;
}

/** How many answers are shown in full. */
const SHOWN_ANSWERS = 12;

/** Writes `report.html` from what the run's folder holds. @returns its path */
export async function writeReport(run: Run): Promise<string> {
  const sections: (Section | null)[] = [
    await resultsSection(run),
    await answersSection(run),
    await plotsSection(run),
    await dataSection(run),
    await trainingSection(run),
    await configSection(run),
    await filesSection(run),
  ];
  const present = sections.filter((section) => section !== null);
  const nav = present.map(({ title }, i) => `<a href="#s${i}">${escapeHtml(title)}</a>`).join(" ");
  const body = present
    .map(({ title, html }, i) =>
      `<section id="s${i}"><h2>${escapeHtml(title)}</h2>${html}</section>`
    )
    .join("\n");
  const title = `Run ${escapeHtml(run.name)}`;
  await writeFileAtomic(
    run.report,
    `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}: Bengali empathetic counsellor</title><style>${STYLE}</style></head>
<body><main><h1>${title}</h1>
<p>Fine-tuning a Llama into a Bengali empathetic counsellor. Not a medical device, not clinically
validated; the empathy score is an automatic proxy.</p>
<nav>${nav}</nav>
${body}
</main></body></html>
`,
  );
  return run.report;
}

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.55 system-ui, "Noto Sans Bengali", "Hind Siliguri", Vrinda, sans-serif;
  margin: 0; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem; }
nav a { margin-right: .9rem; }
h2 { border-bottom: 1px solid var(--line); padding-bottom: .2rem; margin-top: 2.4rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0; background: #fff; padding: .5rem; border-radius: .4rem; }
figure img { width: 100%; height: auto; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; font-size: .85rem; }
.note { opacity: .8; font-size: .9rem; }
@media print { nav { display: none; } section { break-inside: avoid-page; } body { font-size: 11pt; } }
`;

function table(
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cells = (row: readonly (string | number)[]) =>
    row.map((value) =>
      typeof value === "number"
        ? `<td class="n">${value.toLocaleString("en")}</td>`
        : `<td>${escapeHtml(value)}</td>`
    ).join("");
  return `<table><thead><tr>${head.map((h) => `<th>${escapeHtml(h)}</th>`).join("")}</tr></thead>
<tbody>${rows.map((row) => `<tr>${cells(row)}</tr>`).join("\n")}</tbody></table>`;
}

async function resultsSection(run: Run): Promise<Section | null> {
  if (!await exists(run.evaluationResults)) return null;
  const results = await loadEvaluationResults(run.evaluationResults);
  const rows = resultsRows(results).map((r) => [r.metric, r.base, r.tuned, r.difference]);
  const notes = results.notes.map((note) => `<li>${escapeHtml(note)}</li>`).join("");
  return {
    title: "Results",
    html: `<p>${results.n} held-out answers in ${results.groups} groups.</p>
${table(["metric", "base", "tuned", "tuned − base, 95 % interval"], rows)}
<ul class="note">${notes}</ul>
<p class="note">${escapeHtml(Object.values(results.signatures).join(" · "))}</p>`,
  };
}

async function answersSection(run: Run): Promise<Section | null> {
  if (!await exists(run.testResults)) return null;
  const { answers } = await loadTestResults(run);
  const tuned = new Map(answers.filter((a) => a.system === "tuned").map((a) => [a.row, a.answer]));
  const rows = answers.filter((a) => a.system === "base").slice(0, SHOWN_ANSWERS)
    .map((a) => [a.question, a.answer, tuned.get(a.row) ?? "–", a.reference]);
  return {
    title: "Answers",
    html: `<p>The first ${rows.length} held-out questions.</p>
${table(["question", "base", "tuned", "reference"], rows)}`,
  };
}

async function plotsSection(run: Run): Promise<Section | null> {
  if (!await exists(run.plots)) return null;
  const names: string[] = [];
  for await (const entry of Deno.readDir(run.plots)) {
    if (entry.isFile && entry.name.endsWith(".svg")) names.push(entry.name);
  }
  if (names.length === 0) return null;
  const figures = await Promise.all(
    names.sort().map(async (name) => {
      const bytes = await Deno.readFile(`${run.plots}/${name}`);
      const caption = name.replace(/\.svg$/, "").replaceAll("_", " ");
      // As an image, so that no plot's style or id meets another's.
      const source = `data:image/svg+xml;base64,${bytes.toBase64()}`;
      return `<figure><img alt="${escapeHtml(caption)}" src="${source}"></figure>`;
    }),
  );
  return { title: "Plots", html: figures.join("\n") };
}

async function dataSection(run: Run): Promise<Section | null> {
  const parts: string[] = [];
  for (
    const [title, path] of [["Cleaning", run.cleanReport], ["Split", run.splitReport]] as const
  ) {
    if (!await exists(path)) continue;
    const rows = flatten(await loadJson(path, "Run the step again."));
    parts.push(`<h3>${title}</h3>${table(["count", "value"], rows)}`);
  }
  return parts.length === 0 ? null : { title: "Data", html: parts.join("\n") };
}

/** Nested counts as dotted names; zero counts are left out. */
function flatten(value: unknown, prefix = ""): [string, string | number][] {
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([key, inner]) =>
      flatten(inner, prefix === "" ? key : `${prefix}.${key}`)
    );
  }
  if (value === 0) return [];
  return [[prefix, typeof value === "number" ? Number(value.toPrecision(6)) : String(value)]];
}

async function trainingSection(run: Run): Promise<Section | null> {
  const paths = await run.experimentLogs();
  const last = paths.at(-1);
  if (last === undefined) return null;
  const { events } = await loadLog(last);
  const start = events.find((e) => e.event === "run_start");
  const rows: [string, string | number][] = [...progressRows(events)];
  if (start !== undefined) {
    rows.push(["samples", start.train_samples], ["left out, too long", start.too_long]);
    rows.push(["trainable parameters", start.trainable_parameters], ["seed", start.seed]);
    rows.push(...flatten(start.environment, "environment"));
  }
  return {
    title: "Training",
    html: `${table(["what", "value"], rows)}
<p class="note">From ${paths.length} log${paths.length === 1 ? "" : "s"}; last:
${escapeHtml(last.split("/").pop() ?? "")}</p>`,
  };
}

function progressRows(events: readonly LogEvent[]): [string, string | number][] {
  const steps = events.filter((e) => e.event === "train");
  const [first, final] = [steps[0], steps.at(-1)];
  if (first === undefined || final === undefined) return [];
  const rates = steps.map((s) => s.tokens_per_second).toSorted((a, b) => a - b);
  return [
    ["steps", `${first.step} to ${final.step}`],
    ["loss", `${first.loss.toFixed(3)} → ${final.loss.toFixed(3)}`],
    ["seconds", Math.round(final.seconds)],
    ["tokens a second, median", Math.round(rates[Math.floor(rates.length / 2)] ?? 0)],
    ["memory, largest, MB", Math.round(Math.max(...steps.map((s) => s.memory_bytes)) / 1e6)],
  ];
}

async function configSection(run: Run): Promise<Section | null> {
  if (!await exists(run.config)) return null;
  const text = await Deno.readTextFile(run.config);
  return { title: "Configuration", html: `<pre>${escapeHtml(text)}</pre>` };
}

/** Files a reader may want to check, with their SHA-256. */
async function filesSection(run: Run): Promise<Section | null> {
  const rows: [string, number, string][] = [];
  const candidates = [
    run.cleanRecords,
    run.split("train"),
    run.split("val"),
    run.split("test"),
    `${run.adapter}/adapter_model.safetensors`,
    run.testResults,
    run.evaluationResults,
    ...await run.experimentLogs(),
  ];
  for (const path of candidates) {
    if (!await exists(path)) continue;
    const bytes = await Deno.readFile(path);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    rows.push([path.slice(run.folder.length + 1), bytes.length, digest.toHex()]);
  }
  if (rows.length === 0) return null;
  return { title: "Files", html: table(["file", "bytes", "SHA-256"], rows) };
}
